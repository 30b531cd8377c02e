package cli

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// tone is what a cell's colour says.
type tone int

const (
	plain tone = iota
	faint
	good
	warn
	bad
	title
)

// styles is the table of tones; the colours are the terminal's own sixteen, so
// that they fit its background.
func styles() map[tone]lipgloss.Style {
	return map[tone]lipgloss.Style{
		plain: lipgloss.NewStyle(),
		faint: lipgloss.NewStyle().Faint(true),
		good:  lipgloss.NewStyle().Foreground(lipgloss.Green),
		warn:  lipgloss.NewStyle().Foreground(lipgloss.Yellow),
		bad:   lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
		title: lipgloss.NewStyle().Bold(true),
	}
}

// cell is a text with its tone.
type cell struct {
	text string
	tone tone
}

func words(texts ...string) []cell {
	cells := make([]cell, 0, len(texts))
	for _, t := range texts {
		cells = append(cells, cell{text: t})
	}
	return cells
}

// page collects what is shown; nothing is written before all of it is there.
type page struct {
	b      strings.Builder
	styles map[tone]lipgloss.Style
}

func (p *page) paint(c cell) string { return p.styles[c.tone].Render(Clean(c.text)) }

// line writes cells one behind the other, separated by two blanks.
func (p *page) line(cells ...cell) {
	for i, c := range cells {
		if i > 0 {
			p.b.WriteString("  ")
		}
		p.b.WriteString(p.paint(c))
	}
	p.b.WriteByte('\n')
}

// table writes rows under a heading, in columns that are as wide as they must
// be. It writes nothing without rows.
func (p *page) table(head []string, rows [][]cell) {
	if len(rows) == 0 {
		return
	}
	heading := make([]cell, 0, len(head))
	for _, h := range head {
		heading = append(heading, cell{text: h, tone: faint})
	}
	all := append([][]cell{heading}, rows...)
	widths := make([]int, len(head))
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(Clean(c.text)))
		}
	}
	p.b.WriteByte('\n')
	for _, row := range all {
		gap := ""
		for i, c := range row {
			if c.text != "" {
				p.b.WriteString(gap + p.paint(c))
				gap = ""
			}
			gap += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(Clean(c.text))+2)
		}
		p.b.WriteByte('\n')
	}
}

// write sends the page to w.
func (p *page) write(w io.Writer, environ []string) error {
	_, err := io.WriteString(Terminal(w, environ), p.b.String())
	return err
}

// Terminal is w for text with colours: they get through when w is a terminal that
// has them and NO_COLOR is not set, and are taken out otherwise.
func Terminal(w io.Writer, environ []string) io.Writer {
	out := colorprofile.NewWriter(w, environ)
	for _, e := range environ {
		// By its convention any value counts, not only those that mean true.
		if v, found := strings.CutPrefix(e, "NO_COLOR="); found && v != "" {
			out.Profile = colorprofile.NoTTY
		}
	}
	return out
}

// Clean keeps what came from elsewhere from driving the terminal: an agent's
// text is shown, never obeyed.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
