package draw

import (
	"image/color"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"healer/events"
)

// Palette is the colours of a view, from the terminal's own sixteen, so that it is
// readable on light and dark alike.
type Palette struct{ Good, Warn, Bad, Dim, Accent, Frame color.Color }

// Colours is the palette.
func Colours() Palette {
	return Palette{
		Good: lipgloss.Green, Warn: lipgloss.Yellow, Bad: lipgloss.BrightRed,
		Dim: lipgloss.BrightBlack, Accent: lipgloss.Cyan, Frame: lipgloss.BrightBlack,
	}
}

// Paint gives a text a colour.
func Paint(c color.Color, s string) string { return lipgloss.NewStyle().Foreground(c).Render(s) }

// Bold makes a text bold.
func Bold(s string) string { return lipgloss.NewStyle().Bold(true).Render(s) }

// Tone is the colour of a severity.
func Tone(s events.Severity) color.Color {
	c := Colours()
	return map[events.Severity]color.Color{events.Info: c.Accent, events.Warning: c.Warn, events.Critical: c.Bad}[s]
}

// Panel draws a titled frame of the given outer width and inner height.
func Panel(title string, lines []string, width, height int) string {
	border := lipgloss.RoundedBorder()
	c := Colours()
	inner := width - 2
	label := ansi.Truncate(" "+title+" ", max(0, inner-1), "…")
	fill := max(0, inner-1-lipgloss.Width(label))
	out := []string{Paint(c.Frame, border.TopLeft+border.Top) + Paint(c.Accent, label) + Paint(c.Frame, strings.Repeat(border.Top, fill)+border.TopRight)}
	for i := range height {
		line := ""
		if i < len(lines) {
			line = ansi.Truncate(lines[i], inner-2, "…")
		}
		pad := strings.Repeat(" ", max(0, inner-2-lipgloss.Width(line)))
		out = append(out, Paint(c.Frame, border.Left)+" "+line+pad+" "+Paint(c.Frame, border.Right))
	}
	return strings.Join(append(out, Paint(c.Frame, border.BottomLeft+strings.Repeat(border.Bottom, inner)+border.BottomRight)), "\n")
}

// Line is a text from elsewhere as one line, without what would drive the terminal.
func Line(s string) string {
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s), " ")
}

// Tail is the last n elements, or fewer.
func Tail[T any](all []T, n int) []T { return all[max(0, len(all)-max(0, n)):] }

// Fit makes a text just so wide, with a space at its end.
func Fit(s string, width int) string {
	s = ansi.Truncate(s, width-1, "…")
	return s + strings.Repeat(" ", width-lipgloss.Width(s))
}

// Spinner is what moves where something is under way.
func Spinner(now time.Duration) string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return string(frames[int(now/(100*time.Millisecond))%len(frames)])
}
