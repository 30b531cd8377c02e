package words

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"healer/events"
)

// Duration is a duration as a person reads it.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func ms(n int64) string { return Duration(time.Duration(n) * time.Millisecond) }

// Of says in few words what an event tells; its kind and subject are shown beside
// it. It is empty where they say all, and where the data is not as it should be.
func Of(e events.Event) string {
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
			text := fmt.Sprintf("%s %s in %s", Step(s), s.State, ms(s.DurationMS))
			if s.Error != "" {
				return text + ": " + s.Error
			}
			return text + Figures(s.Figures)
		}),
		events.RecoveryVerified: as(func(v events.Verified) string {
			met := ""
			if v.Conflicts != nil {
				met = fmt.Sprintf(" %d conflicts,", v.Conflicts.Total)
			}
			text := fmt.Sprintf("%d transactions carried,%s %d rows compared, %d repaired, in %s",
				v.TransactionsRecovered, met, v.RowsCompared, v.RowsRepaired, ms(v.DurationMS))
			for _, u := range v.Uncompared {
				text += fmt.Sprintf("; %s NOT COMPARED: %s; next: %s", u.Node, u.Why, u.Remedy)
			}
			if only := v.UnsentText(v.Node); only != "" {
				text += "; " + only
			}
			return text
		}),
		events.RecoveryFailed:    as(failedWords),
		events.RecoveryCancelled: as(failedWords),
		events.NodeRejoined:      as(func(r events.Rejoined) string { return "in " + ms(r.DurationMS) }),
		events.NodeDropped:       as(droppedWords),

		events.NodeSuspected: as(judgedWords), events.NodeRefuted: as(judgedWords), events.NodeFailed: as(judgedWords),
		events.NodeLeft: as(judgedWords), events.NodeReturned: as(judgedWords), events.NodeUnwatched: as(judgedWords),
		events.NodeWatched: as(judgedWords), events.NodeFlapping: as(judgedWords),
		events.AgentRefused: as(func(a events.SecondAgent) string {
			return fmt.Sprintf("a second agent at %s; the one at %s stays", a.Refused, a.Holder)
		}),

		events.SlotCreated: as(slotWords), events.SlotAtRisk: as(slotWords), events.SlotReleased: as(slotWords),

		events.NodeMaintenance: as(saidWords), events.RecoveryAcknowledged: as(saidWords),
		events.ControlPaused: as(saidWords), events.ControlResumed: as(saidWords),
		events.JournalEntry: as(func(j struct {
			Event, State, Error string
			Step                *struct{ ID string }
		},
		) string {
			text := j.Event
			if j.Step != nil {
				text += " " + j.Step.ID
			}
			return strings.TrimSpace(text + " " + j.State + " " + j.Error)
		}),
	}
}

func failedWords(f events.Failed) string {
	text := f.Reason + ": " + f.Error
	if f.Retry {
		text += " (it is tried again)"
	}
	if only := f.UnsentText(f.Node); only != "" {
		text += "; " + only
	}
	return text
}

func judgedWords(v events.Judged) string { return v.Reason }

func droppedWords(d events.Dropped) string {
	if d.Forced {
		return "without a verified recovery"
	}
	return ""
}

func slotWords(s events.Slot) string {
	text := s.Slot.Name
	if s.For != "" {
		text += " for " + s.For
	}
	for _, more := range []string{s.Why, s.Remedy} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

func saidWords(s events.Said) string {
	var parts []string
	if s.Ended {
		parts = append(parts, "ended")
	}
	if !s.Until.IsZero() && !s.Ended {
		parts = append(parts, "until "+s.Until.UTC().Format(time.RFC3339))
	}
	if s.By != "" {
		parts = append(parts, "by "+s.By)
	}
	if s.Reason != "" {
		parts = append(parts, "("+s.Reason+")")
	}
	return strings.Join(parts, " ")
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

// Step is a step's verb with its nodes.
func Step(s events.Step) string {
	switch {
	case s.Target != "":
		return s.Kind + " " + s.Node + " → " + s.Target
	case s.Node != "":
		return s.Kind + " " + s.Node
	}
	return s.Kind
}

// Figures are the figures of a step behind a comma, in the order of their names.
func Figures(f map[string]int64) string {
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
