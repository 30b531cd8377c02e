package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/events"
	"healer/internal/htmldoc"
)

// Page is a run to be shown.
type Page struct {
	Title string
	// Facts are shown on top, such as the seed and the command that repeats the run.
	Facts      [][2]string
	Run        check.Run
	Violations []check.Violation
	// Skipped are faults that were not made, with the reason.
	Skipped []string
}

// Write writes the page, as HTML that needs nothing from elsewhere.
func (p Page) Write(w io.Writer) error {
	verdict := h.P(h.Class("good"), g.Text("No promise was broken."))
	if len(p.Violations) > 0 {
		verdict = h.P(h.Class("bad"), g.Textf("%d promises were broken.", len(p.Violations)))
	}
	return htmldoc.Write(w, p.Title,
		h.H1(g.Text(p.Title)), verdict,
		g.If(len(p.Facts) > 0, htmldoc.Table(nil, g.Map(p.Facts, func(f [2]string) g.Node { return h.Tr(htmldoc.Cell(f[0]), htmldoc.Code(f[1])) }))),
		g.If(len(p.Violations) > 0, g.Group{h.H2(g.Text("Violations")), p.violations()}),
		g.Map(p.Skipped, func(s string) g.Node { return htmldoc.Dim(g.Text("Not made: " + s)) }),
		h.H2(g.Text("Timeline")), timelineOf(p.Run).svg(),
		h.H2(g.Text("Lag of each pair")),
		htmldoc.Dim(g.Text("Transactions that a node had not yet, of those that any node had.")), lagOf(p.Run).svg(),
		h.H2(g.Text("Faults")), p.faults(),
		h.H2(g.Text("Clients")), p.clients(),
		h.H2(g.Text("Losses")), p.healings(),
		h.H2(g.Text("Events")), p.events(),
	)
}

func (p Page) violations() g.Node {
	return htmldoc.Table(htmldoc.Headings("Checker", "What"), g.Map(p.Violations, func(v check.Violation) g.Node {
		return h.Tr(htmldoc.Toned("bad", v.Checker), htmldoc.Cell(v.Detail))
	}))
}

func (p Page) faults() g.Node {
	return htmldoc.Table(g.Group{htmldoc.Headings("Fault", "Of"), htmldoc.Number("From s"), htmldoc.Number("Until s"), htmldoc.Headings("Took away", "Note")},
		g.Map(p.Run.Faults, func(f history.FaultRecord) g.Node {
			lost := strings.Join(f.Lost, ", ")
			if f.CostsMajority {
				lost += " (the majority)"
			}
			return h.Tr(htmldoc.Cell(kindly(f.Kind)), htmldoc.Cell(f.Target), htmldoc.Figure(seconds(f.From)), htmldoc.Figure(seconds(f.Until)),
				htmldoc.Cell(lost), htmldoc.Cell(f.Note))
		}))
}

// clients sums up the outcomes by kind of transaction.
func (p Page) clients() g.Node {
	type row struct{ committed, failed, unknown, rows int }
	by := map[string]*row{}
	var kinds []string
	for _, t := range p.Run.Transactions {
		r := by[t.Kind]
		if r == nil {
			r = &row{}
			by[t.Kind] = r
			kinds = append(kinds, t.Kind)
		}
		switch t.Outcome {
		case history.Committed:
			r.committed++
		case history.Failed:
			r.failed++
		case history.Unknown:
			r.unknown++
		}
		r.rows += len(t.Operations)
	}
	slices.Sort(kinds)
	figure := func(n int) g.Node { return htmldoc.Figure(fmt.Sprint(n)) }
	return htmldoc.Table(
		g.Group{htmldoc.Headings("Transaction"), htmldoc.Number("Committed"), htmldoc.Number("Failed"), htmldoc.Number("Unknown"), htmldoc.Number("Operations")},
		g.Map(kinds, func(k string) g.Node {
			r := by[k]
			return h.Tr(htmldoc.Cell(k), figure(r.committed), figure(r.failed), figure(r.unknown), figure(r.rows))
		}))
}

func (p Page) healings() g.Node {
	return htmldoc.Table(g.Group{
		htmldoc.Headings("Node", "By"), htmldoc.Number("Lasted ms"), htmldoc.Number("node.failed after ms"), htmldoc.Number("recovery.verified after ms"), htmldoc.Headings(""),
	}, g.Map(check.Healings(p.Run), func(x check.Healing) g.Node {
		figure := func(ms float64) g.Node {
			if ms == 0 {
				return htmldoc.Figure("")
			}
			return htmldoc.Figure(fmt.Sprintf("%.0f", ms))
		}
		note := ""
		if x.Refused {
			note = "refused"
		}
		return h.Tr(htmldoc.Cell(x.Node), htmldoc.Cell(kindly(x.Fault)), figure(x.LastedMS), figure(x.DetectedMS), figure(x.VerifiedMS), htmldoc.Cell(note))
	}))
}

// events are all but the journals' entries.
func (p Page) events() g.Node {
	told := slices.DeleteFunc(slices.Clone(p.Run.Events), func(e events.Event) bool { return e.Kind() == events.JournalEntry })
	return htmldoc.Table(g.Group{htmldoc.Number("At s"), htmldoc.Headings("Kind", "Of", "By", "Data")}, g.Map(told, func(e events.Event) g.Node {
		tone := map[events.Severity]string{events.Critical: "bad", events.Warning: "warn"}[e.Severity]
		return h.Tr(htmldoc.Figure(seconds(e.Time.Sub(p.Run.Start))), htmldoc.Toned(tone, string(e.Kind())), htmldoc.Cell(e.Subject),
			htmldoc.Cell(e.Source[strings.LastIndex(e.Source, "/")+1:]), htmldoc.Cell(brief(e.Data)))
	}))
}

// brief is the beginning of an event's data.
func brief(data json.RawMessage) string {
	const most = 240
	if len(data) > most {
		return string(data[:most]) + " ..."
	}
	return string(data)
}

// seconds shows a time of the run; empty for one that never came.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", d.Seconds())
}
