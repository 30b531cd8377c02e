package show

import (
	"fmt"
	"image/color"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"healer/internal/draw"
	"healer/internal/words"
)

// smallest is what the view is laid out for; a smaller terminal cuts it off.
const (
	minWidth  = 80
	minHeight = 24
)

// frame draws the board for a terminal of that size, at a time of the run.
func (b *board) frame(width, height int, now time.Duration) string {
	width, height = max(width, minWidth), max(height, minHeight)
	left := width * 9 / 20
	top := lipgloss.JoinHorizontal(lipgloss.Top,
		draw.Panel("nodes", b.nodeLines(left-4), left, len(b.nodes)+1),
		draw.Panel("applied of each origin", b.matrixLines(width-left-4), width-left, len(b.nodes)+1))
	head := b.headLine(width, now)
	rest := height - lipgloss.Height(top) - lipgloss.Height(head)
	story := max(rest*11/20-2, 4)
	middle := lipgloss.JoinHorizontal(lipgloss.Top,
		draw.Panel("what is done", draw.Tail(b.stepLines(left-4, now), story), left, story),
		draw.Panel("healing", draw.Tail(b.healingLines(now), story), width-left, story))
	last := max(rest-story-4, 3)
	bottom := draw.Panel("events over NATS", draw.Tail(b.eventLines(), last), width, last)
	if b.result != nil && !b.final {
		bottom = draw.Panel("result", b.result.Lines, width, last)
	}
	return strings.Join([]string{head, top, middle, bottom}, "\n")
}

func (b *board) headLine(width int, now time.Duration) string {
	left := " " + draw.Bold(draw.Paint(draw.Colours().Accent, "healer")) + " " + b.title
	right := Stamp(now).Clock()
	if b.kill != nil {
		right = draw.Paint(draw.Colours().Bad, "kill +"+words.Duration(now-time.Duration(b.kill.At))) + "  " + right
	}
	if b.result != nil {
		verdict := draw.Paint(draw.Colours().Bad, "NOT CONVERGED")
		if b.result.Good {
			verdict = draw.Paint(draw.Colours().Good, "CONVERGED")
		}
		right = draw.Bold(verdict) + "  " + right
	}
	left = ansi.Truncate(left, max(0, width-lipgloss.Width(right)-2), "…")
	space := max(1, width-lipgloss.Width(left)-lipgloss.Width(right)-1)
	return left + strings.Repeat(" ", space) + right
}

// nodeColumns is what the columns before the bars of rates take.
const nodeColumns = 9 + 8 + 7 + 10 + 5

func (b *board) nodeLines(width int) []string {
	c := draw.Colours()
	lines := []string{draw.Paint(c.Dim, fmt.Sprintf("%-8s %-7s %-6s %-9s %s", "node", "server", "agent", "verdict", "writes/s"))}
	rates := map[string]Rate{}
	for _, r := range b.rates {
		rates[r.Node] = r
	}
	for _, n := range b.nodes {
		l := b.lives[n]
		verdict := l.Verdict
		if verdict == "" {
			verdict = "–"
		}
		lines = append(lines, fmt.Sprintf("%-8s %s %s %s %4.0f %s", n,
			mark(l.Server, 7), mark(l.Agent, 6), draw.Paint(verdictColour(verdict), fmt.Sprintf("%-9s", verdict)),
			rates[n].PerSecond, draw.Paint(c.Accent, spark(draw.Tail(b.history[n], width-nodeColumns)))))
	}
	return lines
}

func mark(up bool, width int) string {
	c, word := draw.Colours().Bad, "✗ down"
	if up {
		c, word = draw.Colours().Good, "● up"
	}
	return draw.Paint(c, word) + strings.Repeat(" ", max(0, width-lipgloss.Width(word)))
}

func verdictColour(v string) color.Color {
	c, ok := map[string]color.Color{
		"alive": draw.Colours().Good, "rejoined": draw.Colours().Good,
		"suspected": draw.Colours().Warn, "returned": draw.Colours().Warn, "failed": draw.Colours().Bad,
	}[v]
	if !ok {
		return draw.Colours().Dim
	}
	return c
}

// spark draws rates as a row of bars, the highest of them full.
func spark(rates []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := 1.0
	for _, r := range rates {
		top = max(top, r)
	}
	var s strings.Builder
	for _, r := range rates {
		if r <= 0 {
			s.WriteRune(' ')
			continue
		}
		s.WriteRune(bars[min(len(bars)-1, int(r/top*float64(len(bars))))])
	}
	return s.String()
}

func (b *board) matrixLines(width int) []string {
	c := draw.Colours()
	column := max(10, (width-5)/max(1, len(b.nodes)))
	head := draw.Paint(c.Dim, "     ")
	for _, origin := range b.nodes {
		head += draw.Paint(c.Dim, draw.Fit("of "+origin, column))
	}
	lines := []string{head}
	for _, node := range b.nodes {
		line := draw.Fit(node, 5)
		for _, origin := range b.nodes {
			line += b.matrixCell(b.cell(node, origin), column)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *board) matrixCell(l cell, width int) string {
	c := draw.Colours()
	text := l.text()
	switch {
	case l.cut:
		text = "✂ " + text
	case l.fenced:
		text = "▣ " + text
	}
	text = draw.Fit(text, width)
	switch {
	case l.missing >= worthShowing:
		return lipgloss.NewStyle().Bold(true).Foreground(c.Bad).Render(text)
	case l.cut, l.fenced:
		return draw.Paint(c.Warn, text)
	case l.own, l.gone, !l.known:
		return draw.Paint(c.Dim, text)
	}
	return draw.Paint(c.Good, text)
}

func (b *board) stepLines(width int, now time.Duration) []string {
	c := draw.Colours()
	var lines []string
	for _, s := range b.steps {
		switch {
		case s.Err != nil:
			lines = append(lines, draw.Paint(c.Bad, "✗ ")+s.Err.Error())
		case s.Ended:
			took := words.Duration(s.Took)
			lines = append(lines, draw.Paint(c.Good, "✔ ")+draw.Fit(s.What, width-2-len(took))+draw.Paint(c.Dim, took))
		default:
			lines = append(lines, draw.Paint(c.Warn, draw.Spinner(now)+" ")+s.What)
		}
	}
	if b.note != "" {
		lines = append(lines, draw.Paint(c.Dim, "  "+b.note))
	}
	return lines
}

func (b *board) healingLines(now time.Duration) []string {
	var lines []string
	for _, p := range b.plans {
		lines = append(lines, draw.Bold(p.Title))
		lines = append(lines, p.Lines(now)...)
		if p.End != "" {
			lines = append(lines, draw.Paint(draw.Colours().Dim, "  "+p.End))
		}
	}
	return lines
}

func (b *board) eventLines() []string {
	c := draw.Colours()
	lines := make([]string, 0, len(b.events))
	for _, h := range b.events {
		lines = append(lines, draw.Paint(c.Dim, h.At.Clock())+"  "+
			draw.Paint(draw.Tone(h.Event.Severity), draw.Fit(string(h.Event.Kind()), 21))+draw.Fit(h.Event.Subject, 5)+words.Of(h.Event))
	}
	return lines
}
