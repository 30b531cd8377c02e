package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"healer/api"
	"healer/internal/htmldoc"
	"healer/topology"
)

// html writes the runs as a page that needs nothing from elsewhere.
func (j journals) html(w io.Writer) error {
	return htmldoc.Write(w, "Recoveries",
		h.H1(g.Text("Recoveries")),
		g.If(len(j.Runs) == 0, htmldoc.Dim(g.Text("No agent that answers remembers a recovery."))),
		g.If(len(j.Runs) > 1, overviewHTML(j.Runs)),
		g.Map(j.Runs, runHTML),
		g.Map(j.Agents, answerHTML),
	)
}

// class is how a state looks.
func class(state string) string {
	return map[string]string{
		"verified": "good", "failed": "bad", "cancelled": "warn", "interrupted": "warn", "running": "warn",
		"yielded": "warn", "pending": "warn", "already": "dim",
	}[state]
}

func overviewHTML(runs []api.Run) g.Node {
	return htmldoc.Table(
		g.Group{
			htmldoc.Headings("Run", "Recovery", "Of", "State", "Started"), htmldoc.Number("Took"), htmldoc.Headings("By"),
			htmldoc.Number("Transactions"), htmldoc.Number("Conflicts"), htmldoc.Number("Repaired"),
		},
		g.Map(runs, func(r api.Run) g.Node {
			return h.Tr(h.Td(h.A(h.Href("#"+r.Run), h.Code(g.Text(r.Run)))), h.Td(g.Text(r.Kind+" "), h.Code(g.Text(r.ID))),
				htmldoc.Cell(r.Node), htmldoc.Toned(class(r.State), r.State), htmldoc.Cell(when(r.Started)), htmldoc.Figure(took(r.Duration)),
				htmldoc.Cell(r.Agent), figure(r.Transactions), figure(r.Conflicts), figure(r.Repaired))
		}))
}

func figure[T int | int64](n T) g.Node { return htmldoc.Figure(fmt.Sprint(n)) }

func runHTML(r api.Run) g.Node {
	told := fmt.Sprintf(" by the agent of %s, %s, %s.", r.Agent, when(r.Started), took(r.Duration))
	if r.Source != "" {
		told += fmt.Sprintf(" Source %s, survivors %s, watermark %s.", r.Source, strings.Join(r.Survivors, ", "), r.Watermark)
	}
	told += fmt.Sprintf(" %d transactions carried, %d conflicts, %d rows repaired.", r.Transactions, r.Conflicts, r.Repaired)
	only := r.UnsentText(r.Node)
	return g.Group{
		h.H2(h.ID(r.Run), g.Text(r.Kind+" of "+r.Node+": "), h.Span(h.Class(class(r.State)), g.Text(r.State))),
		htmldoc.Dim(g.Text("Recovery "), h.Code(g.Text(r.ID)), g.Text(", life "), h.Code(g.Text(r.Incarnation)),
			g.Text(", run "), h.Code(g.Text(r.Run)), g.Text(told),
			g.If(only != "", h.Strong(g.Text(" "+only+".")))),
		g.If(r.Error != "", htmldoc.Loud(g.Text(r.Error), g.If(r.Hint != "", g.Group{h.Br(), h.Strong(g.Text(r.Hint))}))),
		timelineOf(r).svg(),
		g.If(len(r.Steps) > 0, g.Group{h.H3(g.Text("Steps")), stepsHTML(r.Steps)}),
		g.If(len(r.ConflictCounts) > 0, g.Group{h.H3(g.Text("Conflicts")), countsHTML(r.ConflictCounts)}),
		g.If(len(r.Listed) > 0, listedHTML(r.Listed)),
	}
}

func stepsHTML(steps []api.RunStep) g.Node {
	return htmldoc.Table(
		g.Group{
			htmldoc.Headings("Step", "On", "Target", "State", "Began"), htmldoc.Number("Took"), htmldoc.Number("Tries"), htmldoc.Headings("Evidence"),
		},
		g.Map(steps, func(s api.RunStep) g.Node {
			return h.Tr(htmldoc.Cell(s.Kind), htmldoc.Cell(s.Node), htmldoc.Cell(s.Target), htmldoc.Toned(class(s.State), s.State),
				htmldoc.Cell(clock(s.Started)), htmldoc.Figure(took(s.Duration)), figure(s.Attempts),
				h.Td(g.Text(s.Evidence),
					g.If(s.Error != "", h.Span(h.Class("bad"), g.Text(" "+s.Error))),
					g.If(s.Hint != "", h.Strong(g.Text(" "+s.Hint))),
					g.Map(s.Tries, func(t api.RunTry) g.Node {
						return g.Group{h.Br(), h.Span(h.Class("dim"), g.Text(clock(t.At)+" "+t.Error))}
					})))
		}))
}

// clock is the time of a day, of which the run's heading tells.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("15:04:05.000")
}

func countsHTML(counts []topology.ConflictCount) g.Node {
	return htmldoc.Table(g.Group{htmldoc.Headings("Table", "Kind", "Action"), htmldoc.Number("Count")},
		g.Map(counts, func(c topology.ConflictCount) g.Node {
			return h.Tr(htmldoc.Code(c.Table), htmldoc.Cell(string(c.Kind)), htmldoc.Cell(c.Action), figure(c.Count))
		}))
}

func listedHTML(conflicts []topology.RowConflict) g.Node {
	return htmldoc.Table(htmldoc.Headings("On", "Row", "Kind", "Write", "Met", "Action"),
		g.Map(conflicts, func(c topology.RowConflict) g.Node {
			met := "no row"
			if c.Local != nil {
				met = byWhom(*c.Local)
			}
			if len(c.OtherKey) > 0 {
				met += " in row (" + keyText(c.OtherKey) + ")"
			}
			if c.Constraint != "" {
				met += ", constraint " + c.Constraint
			}
			return h.Tr(htmldoc.Cell(c.Node), htmldoc.Code(c.Table+" ("+keyText(c.Key)+")"), htmldoc.Cell(string(c.Kind)),
				htmldoc.Cell(byWhom(c.Remote)), htmldoc.Cell(met), htmldoc.Cell(c.Action))
		}))
}

func answerHTML(a answer) g.Node {
	return g.Group{
		g.If(a.Error != "", htmldoc.Dim(g.Text("The agent "+a.Node+" at "+a.API+" did not answer: "+a.Error))),
		g.If(a.Problem != "", htmldoc.Dim(g.Text("The agent "+a.Node+" could not read all: "+a.Problem))),
	}
}

// svg draws a timeline; nothing of a run of which nothing has begun.
func (t *timeline) svg() g.Node {
	if t == nil {
		return nil
	}
	return h.Div(h.Class("wide"), g.El("svg",
		g.Attr("viewBox", fmt.Sprintf("0 0 %.0f %.0f", t.Width, t.Height)), h.Role("img"), h.Aria("label", "The steps over time"),
		g.Map(t.Ticks, func(k tick) g.Node {
			return g.Group{
				line("", k.X, 0, t.Height),
				g.El("text", h.Class("t"), at("x", k.X), at("y", t.Height), g.Attr("dx", "3"), g.Attr("dy", "-4"), g.Text(k.Text)),
			}
		}),
		g.Map(t.Bars, func(b bar) g.Node {
			return g.El("g", g.El("title", g.Text(b.Title)),
				g.El("text", at("x", 0), at("y", b.TextY), g.Text(b.Label)),
				g.El("rect", h.Class(class(b.State)), at("x", b.X), at("y", b.Y), at("width", b.W), at("height", b.H), g.Attr("rx", "2")),
				g.Map(b.Tries, func(x float64) g.Node { return line("try", x, b.Y, b.TextY) }))
		}),
	))
}

func line(class string, x, from, to float64) g.Node {
	return g.El("line", g.If(class != "", h.Class(class)), at("x1", x), at("x2", x), at("y1", from), at("y2", to))
}

func at(name string, v float64) g.Node { return g.Attr(name, fmt.Sprintf("%.1f", v)) }

// The measures of a timeline, in the units of its view box.
const (
	labelWidth = 210.0
	chartWidth = 700.0
	rowHeight  = 22.0
	axisHeight = 24.0
	// leastWidth keeps a step visible that took no time.
	leastWidth = 2.0
)

// timeline is a run's steps as bars over its time.
type timeline struct {
	Width, Height float64
	Bars          []bar
	Ticks         []tick
}

// bar is one step; its tries that failed are at Tries.
type bar struct {
	Label, State, Title string
	X, Y, W, H          float64
	TextY               float64
	Tries               []float64
}

type tick struct {
	X    float64
	Text string
}

// timelineOf lays out a run; nil when nothing of it has begun.
func timelineOf(r api.Run) *timeline {
	begin, end := r.Started, r.Started.Add(time.Duration(r.Duration))
	for _, s := range r.Steps {
		if s.Started.IsZero() {
			continue
		}
		if s.Started.Before(begin) {
			begin = s.Started
		}
		if e := s.Started.Add(time.Duration(s.Duration)); e.After(end) {
			end = e
		}
	}
	span := end.Sub(begin)
	if len(r.Steps) == 0 || span <= 0 {
		return nil
	}
	at := func(t time.Time) float64 { return labelWidth + chartWidth*float64(t.Sub(begin))/float64(span) }
	tl := &timeline{Width: labelWidth + chartWidth + 40, Height: rowHeight*float64(len(r.Steps)) + axisHeight}
	for i, s := range r.Steps {
		if s.Started.IsZero() {
			continue
		}
		y := rowHeight * float64(i)
		b := bar{
			Label: stepLabel(s), State: s.State, X: at(s.Started), Y: y + 4, H: rowHeight - 8, TextY: y + rowHeight/2 + 4,
			Title: fmt.Sprintf("%s: %s after %s, %s", stepLabel(s), s.State, took(s.Duration), said(s)),
		}
		b.W = math.Max(leastWidth, at(s.Started.Add(time.Duration(s.Duration)))-b.X)
		for _, t := range s.Tries {
			b.Tries = append(b.Tries, at(t.At))
		}
		tl.Bars = append(tl.Bars, b)
	}
	step := roundStep(span)
	for d := time.Duration(0); d <= span; d += step {
		tl.Ticks = append(tl.Ticks, tick{X: at(begin.Add(d)), Text: d.String()})
	}
	return tl
}

// roundStep is a round time of which at most ten fit into span.
func roundStep(span time.Duration) time.Duration {
	for step := time.Microsecond; ; step *= 10 {
		for _, round := range []time.Duration{step, 2 * step, 5 * step} {
			if span/round <= 10 {
				return round
			}
		}
	}
}

func stepLabel(s api.RunStep) string {
	switch {
	case s.Target != "" && s.Target != s.Node:
		return s.Kind + " " + s.Node + " to " + s.Target
	case s.Node != "":
		return s.Kind + " " + s.Node
	default:
		return s.Kind
	}
}

// said is what a step has to say for itself.
func said(s api.RunStep) string {
	if s.Error != "" {
		return s.Error
	}
	return s.Evidence
}
