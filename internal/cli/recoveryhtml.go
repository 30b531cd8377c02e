package cli

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"

	"healer/api"
)

//go:embed recovery.html
var recoveryPage string

// html writes the runs as a page that needs nothing from elsewhere.
func (j journals) html(w io.Writer) error {
	t, err := template.New("recovery").Funcs(template.FuncMap{
		"when": when, "took": took, "byWhom": byWhom, "keyText": keyText, "join": strings.Join, "timeline": timelineOf,
	}).Parse(recoveryPage)
	if err != nil {
		return err
	}
	return t.Execute(w, j)
}

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
