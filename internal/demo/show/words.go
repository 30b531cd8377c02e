package show

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"healer/events"
)

// Clock shows a stamp as seconds of the run.
func (s Stamp) Clock() string { return fmt.Sprintf("%6.2fs", time.Duration(s).Seconds()) }

// short shows a duration as a person reads it.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func ms(n int64) string { return short(time.Duration(n) * time.Millisecond) }

// describe says in few words what an event tells; its kind and subject are
// shown beside it.
func describe(e events.Event) string {
	words, ok := describers()[e.Kind()]
	if !ok {
		return ""
	}
	return words(e.Data)
}

func describers() map[events.Kind]func(json.RawMessage) string {
	return map[events.Kind]func(json.RawMessage) string{
		events.RecoveryPlanned: as(func(p events.Planned) string {
			if len(p.Lanes) == 0 {
				return fmt.Sprintf("%s, %d steps", p.Plan, len(p.Steps))
			}
			lanes := make([]string, len(p.Lanes))
			for i, l := range p.Lanes {
				lanes[i] = l.Source + " → " + l.Target
			}
			estimate := ""
			if !p.Final {
				estimate = " (an estimate until all are fenced)"
			}
			return fmt.Sprintf("%s, %d steps, carry %s up to %s%s", p.Plan, len(p.Steps), strings.Join(lanes, ", "), p.Watermark, estimate)
		}),
		events.RecoveryRefused: as(func(r events.Refused) string { return r.Reason + ": " + r.Why }),
		events.RecoveryStarted: as(func(s events.Started) string { return s.Plan }),
		events.RecoveryStep: as(func(s events.Step) string {
			text := fmt.Sprintf("%s %s in %s", stepName(s), s.State, ms(s.DurationMS))
			if s.Error != "" {
				return text + ": " + s.Error
			}
			return text + figures(s.Figures)
		}),
		events.RecoveryVerified: as(func(v events.Verified) string {
			met := ""
			if v.Conflicts != nil {
				met = fmt.Sprintf(" %d conflicts,", v.Conflicts.Total)
			}
			return fmt.Sprintf("%d transactions carried,%s %d rows compared, %d repaired, in %s",
				v.TransactionsRecovered, met, v.RowsCompared, v.RowsRepaired, ms(v.DurationMS))
		}),
		events.RecoveryFailed:    as(failedWords),
		events.RecoveryCancelled: as(failedWords),
		events.NodeRejoined:      as(func(r events.Rejoined) string { return "in " + ms(r.DurationMS) }),
	}
}

func failedWords(f events.Failed) string {
	text := f.Reason + ": " + f.Error
	if f.Retry {
		text += " (it is tried again)"
	}
	return text
}

// as reads data of one type; what it cannot read has no words.
func as[T any](words func(T) string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var data T
		if json.Unmarshal(raw, &data) != nil {
			return ""
		}
		return words(data)
	}
}

// stepName is a step's verb with its nodes.
func stepName(s events.Step) string {
	switch {
	case s.Target != "":
		return s.Kind + " " + s.Node + " → " + s.Target
	case s.Node != "":
		return s.Kind + " " + s.Node
	}
	return s.Kind
}

func figures(f map[string]int64) string {
	if len(f) == 0 {
		return ""
	}
	words := make([]string, 0, len(f))
	for k, v := range f {
		words = append(words, fmt.Sprintf("%s %d", strings.ReplaceAll(k, "_", " "), v))
	}
	sort.Strings(words)
	return ", " + strings.Join(words, ", ")
}

// decode reads an event's data; what cannot be read stays zero.
func decode(e events.Event, into any) { _ = json.Unmarshal(e.Data, into) }
