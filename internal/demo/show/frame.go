package show

import (
	"fmt"
	"image/color"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"healer/events"
	"healer/internal/words"
)

// palette is the view's colours, from the terminal's own sixteen, so that it is
// readable on light and dark alike.
type palette struct{ good, warn, bad, dim, accent, frame color.Color }

func colours() palette {
	return palette{
		good: lipgloss.Green, warn: lipgloss.Yellow, bad: lipgloss.BrightRed,
		dim: lipgloss.BrightBlack, accent: lipgloss.Cyan, frame: lipgloss.BrightBlack,
	}
}

func paint(c color.Color, s string) string { return lipgloss.NewStyle().Foreground(c).Render(s) }

func bold(s string) string { return lipgloss.NewStyle().Bold(true).Render(s) }

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
		panel("nodes", b.nodeLines(left-4), left, len(b.nodes)+1),
		panel("applied of each origin", b.matrixLines(width-left-4), width-left, len(b.nodes)+1))
	head := b.headLine(width, now)
	rest := height - lipgloss.Height(top) - lipgloss.Height(head)
	story := max(rest*11/20-2, 4)
	middle := lipgloss.JoinHorizontal(lipgloss.Top,
		panel("what is done", tail(b.stepLines(left-4, now), story), left, story),
		panel("healing", tail(b.healingLines(now), story), width-left, story))
	last := max(rest-story-4, 3)
	bottom := panel("events over NATS", tail(b.eventLines(), last), width, last)
	if b.result != nil && !b.final {
		bottom = panel("result", b.result.Lines, width, last)
	}
	return strings.Join([]string{head, top, middle, bottom}, "\n")
}

func (b *board) headLine(width int, now time.Duration) string {
	left := " " + bold(paint(colours().accent, "healer")) + " " + b.title
	right := Stamp(now).Clock()
	if b.kill != nil {
		right = paint(colours().bad, "kill +"+words.Duration(now-time.Duration(b.kill.At))) + "  " + right
	}
	if b.result != nil {
		verdict := paint(colours().bad, "NOT CONVERGED")
		if b.result.Good {
			verdict = paint(colours().good, "CONVERGED")
		}
		right = bold(verdict) + "  " + right
	}
	left = ansi.Truncate(left, max(0, width-lipgloss.Width(right)-2), "…")
	space := max(1, width-lipgloss.Width(left)-lipgloss.Width(right)-1)
	return left + strings.Repeat(" ", space) + right
}

// panel draws a titled frame of the given outer width and inner height.
func panel(title string, lines []string, width, height int) string {
	border := lipgloss.RoundedBorder()
	c := colours()
	inner := width - 2
	label := " " + title + " "
	fill := max(0, inner-1-lipgloss.Width(label))
	out := []string{paint(c.frame, border.TopLeft+border.Top) + paint(c.accent, label) + paint(c.frame, strings.Repeat(border.Top, fill)+border.TopRight)}
	for i := range height {
		line := ""
		if i < len(lines) {
			line = ansi.Truncate(lines[i], inner-2, "…")
		}
		pad := strings.Repeat(" ", max(0, inner-2-lipgloss.Width(line)))
		out = append(out, paint(c.frame, border.Left)+" "+line+pad+" "+paint(c.frame, border.Right))
	}
	return strings.Join(append(out, paint(c.frame, border.BottomLeft+strings.Repeat(border.Bottom, inner)+border.BottomRight)), "\n")
}

func tail(lines []string, n int) []string { return tailOf(lines, n) }

// tailOf is the last n elements, or fewer.
func tailOf[T any](all []T, n int) []T { return all[max(0, len(all)-max(0, n)):] }

// nodeColumns is what the columns before the bars of rates take.
const nodeColumns = 9 + 8 + 7 + 10 + 5

func (b *board) nodeLines(width int) []string {
	c := colours()
	lines := []string{paint(c.dim, fmt.Sprintf("%-8s %-7s %-6s %-9s %s", "node", "server", "agent", "verdict", "writes/s"))}
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
			mark(l.Server, 7), mark(l.Agent, 6), paint(verdictColour(verdict), fmt.Sprintf("%-9s", verdict)),
			rates[n].PerSecond, paint(c.accent, spark(tailOf(b.history[n], width-nodeColumns)))))
	}
	return lines
}

func mark(up bool, width int) string {
	c, word := colours().bad, "✗ down"
	if up {
		c, word = colours().good, "● up"
	}
	return paint(c, word) + strings.Repeat(" ", max(0, width-lipgloss.Width(word)))
}

func verdictColour(v string) color.Color {
	c, ok := map[string]color.Color{
		"alive": colours().good, "rejoined": colours().good,
		"suspected": colours().warn, "returned": colours().warn, "failed": colours().bad,
	}[v]
	if !ok {
		return colours().dim
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
	c := colours()
	column := max(10, (width-5)/max(1, len(b.nodes)))
	head := paint(c.dim, "     ")
	for _, origin := range b.nodes {
		head += paint(c.dim, fit("of "+origin, column))
	}
	lines := []string{head}
	for _, node := range b.nodes {
		line := fit(node, 5)
		for _, origin := range b.nodes {
			line += b.matrixCell(b.cell(node, origin), column)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *board) matrixCell(l cell, width int) string {
	c := colours()
	text := l.text()
	switch {
	case l.cut:
		text = "✂ " + text
	case l.fenced:
		text = "▣ " + text
	}
	text = fit(text, width)
	switch {
	case l.missing >= worthShowing:
		return lipgloss.NewStyle().Bold(true).Foreground(c.bad).Render(text)
	case l.cut, l.fenced:
		return paint(c.warn, text)
	case l.own, l.gone, !l.known:
		return paint(c.dim, text)
	}
	return paint(c.good, text)
}

// fit makes a text just so wide, with a space at its end.
func fit(s string, width int) string {
	s = ansi.Truncate(s, width-1, "…")
	return s + strings.Repeat(" ", width-lipgloss.Width(s))
}

func (b *board) stepLines(width int, now time.Duration) []string {
	c := colours()
	var lines []string
	for _, s := range b.steps {
		switch {
		case s.Err != nil:
			lines = append(lines, paint(c.bad, "✗ ")+s.Err.Error())
		case s.Ended:
			took := words.Duration(s.Took)
			lines = append(lines, paint(c.good, "✔ ")+fit(s.What, width-2-len(took))+paint(c.dim, took))
		default:
			lines = append(lines, paint(c.warn, spinner(now)+" ")+s.What)
		}
	}
	if b.note != "" {
		lines = append(lines, paint(c.dim, "  "+b.note))
	}
	return lines
}

func spinner(now time.Duration) string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return string(frames[int(now/(100*time.Millisecond))%len(frames)])
}

func (b *board) healingLines(now time.Duration) []string {
	var lines []string
	for _, p := range b.plans {
		lines = append(lines, bold(p.title))
		lines = append(lines, p.lines(now)...)
		if p.end != "" {
			lines = append(lines, paint(colours().dim, "  "+p.end))
		}
	}
	return lines
}

func (p *plan) lines(now time.Duration) []string {
	c := colours()
	longest := time.Millisecond
	for _, s := range p.steps {
		longest = max(longest, s.took)
	}
	lines := make([]string, 0, len(p.steps))
	for _, s := range p.steps {
		switch {
		case s.failed != "":
			lines = append(lines, paint(c.bad, "✗ ")+fit(s.name, 20)+s.failed)
		case !s.ended && p.end == "":
			lines = append(lines, paint(c.warn, spinner(now)+" ")+paint(c.dim, s.name))
		case !s.ended:
			lines = append(lines, paint(c.dim, "· "+s.name))
		default:
			bar := strings.Repeat("━", 1+int(11*s.took/longest))
			lines = append(lines, paint(c.good, "✔ ")+fit(s.name, 20)+fit(paint(c.accent, bar), 13)+fit(words.Duration(s.took), 8)+paint(c.dim, s.figures))
		}
	}
	return lines
}

func (b *board) eventLines() []string {
	c := colours()
	tone := map[events.Severity]color.Color{events.Info: c.accent, events.Warning: c.warn, events.Critical: c.bad}
	lines := make([]string, 0, len(b.events))
	for _, h := range b.events {
		lines = append(lines, paint(c.dim, h.At.Clock())+"  "+
			paint(tone[h.Event.Severity], fit(string(h.Event.Kind()), 21))+fit(h.Event.Subject, 5)+words.Of(h.Event))
	}
	return lines
}
