package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/events"
)

// The measures of pictures, in pixels.
const (
	wide   = 1000.0
	margin = 150.0
	lane   = 20.0
)

// span is a bar, or a point in time where From is To.
type span struct {
	from, to    time.Duration
	class, text string
}

// timeline is a picture of lanes over one axis of time.
type timeline struct {
	length time.Duration
	names  []string
	lanes  map[string][]span
}

func (t *timeline) add(name string, s span) {
	if _, ok := t.lanes[name]; !ok {
		t.names = append(t.names, name)
	}
	t.lanes[name] = append(t.lanes[name], s)
}

// timelineOf shows, over one axis: each fault, the verdicts about each node, the steps
// of recoveries on each node, and each client's transactions that did not commit.
func timelineOf(r check.Run) *timeline {
	t := &timeline{length: r.Length, lanes: map[string][]span{}}
	for _, f := range r.Faults {
		t.add(kindly(f.Kind)+" "+f.Target, span{f.From, f.Over(r.Length), "bad", f.Note})
	}
	for _, e := range r.Events {
		at := e.Time.Sub(r.Start)
		kind := string(e.Kind())
		switch {
		case strings.HasPrefix(kind, "node."):
			t.add("verdicts on "+e.Subject, span{at, at, map[events.Severity]string{events.Critical: "bad", events.Warning: "warn"}[e.Severity], kind})
		case e.Kind() == events.RecoveryStep:
			var s events.Step
			if json.Unmarshal(e.Data, &s) == nil {
				name := "steps for " + e.Subject
				if where := cmp.Or(s.Target, s.Node); where != "" {
					name += " on " + where
				}
				t.add(name, span{at - time.Duration(s.DurationMS)*time.Millisecond, at, stepClass(s.State), s.Kind + ": " + s.State})
			}
		case strings.HasPrefix(kind, "recovery."):
			t.add("recovery of "+e.Subject, span{at, at, map[events.Severity]string{events.Critical: "bad", events.Warning: "warn"}[e.Severity], kind})
		}
	}
	for _, x := range r.Transactions {
		if x.Outcome == history.Unknown || x.Outcome == history.Failed && !strings.Contains(x.Error, "on purpose") {
			t.add("clients of "+x.Node, span{x.Began, x.Ended, map[history.Outcome]string{history.Unknown: "bad", history.Failed: "warn"}[x.Outcome], x.ID + " " + string(x.Outcome) + ": " + x.Error})
		}
	}
	rank := func(name string) int {
		return slices.IndexFunc([]string{"verdicts on", "recovery of", "steps for", "clients of"}, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	slices.SortStableFunc(t.names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 || rank(a) < 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return t
}

func stepClass(state string) string {
	return map[string]string{"failed": "bad", "cancelled": "warn", "already": "dim"}[state]
}

// x is where a time stands.
func (t *timeline) x(at time.Duration) float64 { return place(at, t.length) }

func place(at, length time.Duration) float64 {
	if length <= 0 {
		return margin
	}
	return margin + (wide-margin)*min(1, max(0, float64(at)/float64(length)))
}

func (t *timeline) svg() g.Node {
	height := lane * float64(len(t.names)+2)
	return picture("Faults, verdicts, steps and client errors over time", height, g.Group{
		axis(t.length, height),
		g.Map(indices(t.names), func(i int) g.Node {
			y := lane * float64(i)
			return g.Group{
				label(0, y+14, t.names[i]),
				g.Map(t.lanes[t.names[i]], func(s span) g.Node {
					return g.El("rect", h.Class(s.class), at("x", t.x(s.from)), at("y", y+4), at("width", max(2, t.x(s.to)-t.x(s.from))), at("height", lane-8),
						g.El("title", g.Textf("%s %s", seconds(s.from), s.text)))
				}),
			}
		}),
	})
}

// picture is an SVG in a frame that scrolls where the window is narrow.
func picture(what string, height float64, inside g.Node) g.Node {
	return h.Div(h.Class("wide"), g.El("svg", g.Attr("viewBox", fmt.Sprintf("0 0 %.0f %.0f", wide, height)), h.Role("img"), h.Aria("label", what), inside))
}

// axis has a line and a number at each of some ten round times.
func axis(length time.Duration, height float64) g.Node {
	step := time.Second
	for _, seconds := range []int{2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600} {
		if length/step > 12 {
			step = time.Duration(seconds) * time.Second
		}
	}
	var out g.Group
	for d := time.Duration(0); d <= length; d += step {
		x := place(d, length)
		out = append(out, g.El("line", at("x1", x), at("x2", x), at("y1", 0), at("y2", height-lane)),
			g.El("text", h.Class("t"), at("x", x), at("y", height-5), g.Attr("text-anchor", "middle"), g.Textf("%.0f s", d.Seconds())))
	}
	return out
}

func label(x, y float64, text string) g.Node {
	return g.El("text", at("x", x), at("y", y), g.Text(text))
}

func at(name string, v float64) g.Node { return g.Attr(name, fmt.Sprintf("%.1f", v)) }

func indices[T any](all []T) []int {
	out := make([]int, len(all))
	for i := range out {
		out[i] = i
	}
	return out
}
