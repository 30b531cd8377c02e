package watch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"healer/api"
	"healer/internal/draw"
)

const (
	// wide is from where on panels stand side by side, tall from where on all of
	// them fit below each other. A terminal that is neither shows one at a time.
	wide, wideHeight = 100, 24
	tall             = 40
	// least is what the view is laid out for; a smaller terminal cuts it off.
	leastWidth, leastHeight = 40, 10
)

// panel is one of the view's, for any size.
type panel struct {
	title string
	lines func(m *model, width int) []string
	// weight is its share of a column.
	weight int
}

func panels() [panelCount]panel {
	return [panelCount]panel{
		nodesPanel:    {"nodes", (*model).nodeLines, 2},
		progressPanel: {"applied of each origin", (*model).progressLines, 2},
		healingPanel:  {"healing", (*model).healingLines, 3},
		slotsPanel:    {"slots", (*model).slotLines, 3},
		eventsPanel:   {"events", (*model).eventLines, 3},
	}
}

// frame draws the whole screen.
func (m *model) frame() string {
	width, height := max(m.width, leastWidth), max(m.height, leastHeight)
	if m.help {
		return crop(m.helpFrame(width, height), width, height)
	}
	head, foot := m.head(width), m.foot(width)
	rest := height - len(head) - 1
	var body string
	switch {
	case m.reading.status == nil:
		body = draw.Panel("agents", m.nobody(), width, max(1, rest-2))
	case width >= wide && height >= wideHeight:
		body = m.wideBody(width, rest)
	case height >= tall:
		body = m.column(width, rest, nodesPanel, progressPanel, healingPanel, slotsPanel, eventsPanel)
	default:
		body = m.tabs(width) + "\n" + m.panel(m.focus, width, max(1, rest-3))
	}
	return crop(strings.Join(append(head, body, foot), "\n"), width, height)
}

func crop(s string, width, height int) string {
	lines := strings.Split(s, "\n")
	lines = lines[:min(len(lines), height)]
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width, "")
	}
	return strings.Join(lines, "\n")
}

// head says how the cluster is, and why.
func (m *model) head(width int) []string {
	c := draw.Colours()
	s := m.reading.status
	left := " " + draw.Bold(draw.Paint(c.Accent, "healer")) + " " + draw.Line(m.name())
	if s == nil {
		return []string{left}
	}
	state := map[api.State]string{
		api.Healthy: draw.Paint(c.Good, "healthy"), api.Degraded: draw.Paint(c.Warn, "degraded"), api.Critical: draw.Bold(draw.Paint(c.Bad, "critical")),
	}[s.State]
	if state == "" {
		state = draw.Paint(c.Dim, "unknown")
	}
	left += "  " + state
	if s.Paused {
		left += "  " + draw.Paint(c.Warn, "HEALING PAUSED")
	}
	if s.Mode != "auto" && s.Mode != "" {
		left += "  " + draw.Paint(c.Warn, "mode "+draw.Line(s.Mode))
	}
	lines := []string{spread(left, m.age(), width)}
	for i, why := range s.Reasons {
		if i == 2 && len(s.Reasons) > 3 {
			lines = append(lines, draw.Paint(c.Dim, fmt.Sprintf("   and %d more: healer status", len(s.Reasons)-i)))
			break
		}
		lines = append(lines, "   "+ansi.Truncate(draw.Line(why), width-4, "…"))
	}
	return lines
}

// age says who tells, and how old it is.
func (m *model) age() string {
	c := draw.Colours()
	s := m.reading.status
	text := "by " + draw.Line(s.Agent)
	if old := m.now.Sub(s.At); s.At.IsZero() {
		text += draw.Paint(c.Warn, ", never observed")
	} else if old >= staleAfter {
		text += draw.Paint(c.Warn, ", "+age(old)+" old")
	}
	if n := len(m.reading.silent); n > 0 {
		text += "  " + draw.Paint(c.Bad, "silent: "+strings.Join(m.reading.silent, " "))
	}
	return text
}

// staleAfter is from when on the age of what is shown is worth a word: agents observe
// once a second.
const staleAfter = 5 * time.Second

// spread puts two texts at the ends of a line; the left one yields.
func spread(left, right string, width int) string {
	right = ansi.Truncate(right, width*2/3, "…")
	left = ansi.Truncate(left, max(0, width-lipgloss.Width(right)-2), "…")
	return left + strings.Repeat(" ", max(1, width-lipgloss.Width(left)-lipgloss.Width(right)-1)) + right
}

// foot says what the keys do.
func (m *model) foot(width int) string {
	c := draw.Colours()
	left := draw.Paint(c.Dim, " q quit  tab panel  ↑↓ scroll  p pause  ? help")
	right := ""
	if m.paused {
		right = draw.Bold(draw.Paint(c.Warn, fmt.Sprintf("paused, %d waiting", len(m.held))))
	}
	return spread(left, right, width)
}

// nobody is shown until an agent has answered.
func (m *model) nobody() []string {
	if m.reading.at.IsZero() {
		return []string{draw.Spinner(m.now.Sub(m.start)) + " asking the agents"}
	}
	lines := []string{draw.Paint(draw.Colours().Bad, "no agent answers, so the state is unknown")}
	for _, n := range m.reading.silent {
		lines = append(lines, "  "+n)
	}
	return append(lines, "see whether the agents run and whether their `api` addresses can be reached from here")
}

func (m *model) tabs(width int) string {
	var names []string
	for i, p := range panels() {
		name, _, _ := strings.Cut(p.title, " ")
		if i == m.focus {
			name = draw.Bold(draw.Paint(draw.Colours().Accent, "["+name+"]"))
		} else {
			name = draw.Paint(draw.Colours().Dim, " "+name+" ")
		}
		names = append(names, name)
	}
	return ansi.Truncate(" "+strings.Join(names, ""), width, "…")
}

// wideBody has the nodes beside the matrix, the healing beside the slots, and below
// them the events.
func (m *model) wideBody(width, height int) string {
	left := width * 9 / 20
	top := min(max(m.nodeCount()+1, 3), max(3, height*2/5))
	rest := height - top - 2
	middle := max(rest/2-2, 3)
	return strings.Join([]string{
		lipgloss.JoinHorizontal(lipgloss.Top, m.panel(nodesPanel, left, top), m.panel(progressPanel, width-left, top)),
		lipgloss.JoinHorizontal(lipgloss.Top, m.panel(healingPanel, left, middle), m.panel(slotsPanel, width-left, middle)),
		m.panel(eventsPanel, width, max(1, rest-middle-4)),
	}, "\n")
}

func (m *model) nodeCount() int { return len(m.reading.status.Nodes) + len(m.reading.status.Witnesses) }

// column stacks panels; nodes and matrix get what they need, the others the rest.
func (m *model) column(width, height int, which ...int) string {
	share := 0
	rest := height - 2*len(which)
	fixed := min(m.nodeCount()+1, rest/4)
	for _, i := range which {
		if i == nodesPanel || i == progressPanel {
			rest -= fixed
		} else {
			share += panels()[i].weight
		}
	}
	var out []string
	for n, i := range which {
		inner := fixed
		if i != nodesPanel && i != progressPanel {
			inner = max(1, rest*panels()[i].weight/share)
		}
		if n == len(which)-1 { // what rounding left
			inner = height - lipgloss.Height(strings.Join(out, "\n")) - 2
		}
		out = append(out, m.panel(i, width, max(1, inner)))
	}
	return strings.Join(out, "\n")
}

// panel draws one of them, scrolled, with what does not fit counted in its title.
func (m *model) panel(i, width, height int) string {
	p := panels()[i]
	lines := p.lines(m, width-4)
	hidden := max(0, len(lines)-height)
	off := min(m.scroll[i], hidden)
	from := off
	if i == eventsPanel {
		from = hidden - off // the newest at the end
	}
	title := p.title
	if m.focus == i {
		title = "▸ " + title
	}
	if hidden > 0 {
		title += fmt.Sprintf(" (%d–%d of %d)", from+1, from+min(height, len(lines)), len(lines))
	}
	return draw.Panel(title, slices.Clone(lines)[from:], width, height)
}

func (m *model) helpFrame(width, height int) string {
	lines := []string{
		"q, Ctrl-C     end",
		"tab, → ←      the next panel, the one before",
		"↑ ↓, PgUp Dn  scroll the panel marked ▸; Home: back",
		"p             pause the picture; what comes is kept",
		"?             this; any key closes it",
		"",
		"In the matrix a row is a node, a column an origin:",
		"  how far the node has applied it, or what it lacks",
		"  −12k  bytes of the origin's log that a peer has",
		"  ▣     fenced off from the origin by Healer",
		"  ↯     no apply worker reads from it",
		"",
		"healer status, healer events tail and healer recovery",
		"show tell the same as text and JSON.",
	}
	return draw.Panel("help", lines, width, max(1, height-2))
}
