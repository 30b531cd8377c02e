package watch

import (
	"fmt"
	"image/color"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"healer/api"
	"healer/internal/draw"
	"healer/internal/words"
)

// nodeLines has a node a line, and what is found at it below.
func (m *model) nodeLines(width int) []string {
	s, c := m.reading.status, draw.Colours()
	name := 4
	for _, n := range s.Nodes {
		name = max(name, len(n.Name))
	}
	name = min(name, max(6, width-40)) + 1
	lines := []string{draw.Paint(c.Dim, draw.Fit("node", name)+fmt.Sprintf("%-10s%-8s%-7s%-7s%s", "life", "server", "ready", "agent", "since"))}
	for _, n := range s.Nodes {
		since := ""
		if !n.Since.IsZero() {
			since = age(m.now.Sub(n.Since))
		}
		lines = append(lines, draw.Fit(draw.Line(n.Name), name)+draw.Paint(lifeColour(n.Life), draw.Fit(draw.Line(n.Life), 10))+
			mark(n.Reachable, "up", "down", 8)+mark(n.Ready, "yes", "no", 7)+mark(n.AgentAlive, "up", "gone", 7)+draw.Paint(c.Dim, since))
	}
	for _, w := range s.Witnesses {
		lines = append(lines, draw.Fit(draw.Line(w.Name), name)+draw.Paint(c.Dim, draw.Fit("witness", 25))+mark(w.AgentAlive, "up", "gone", 7))
	}
	for _, n := range s.Nodes {
		for _, found := range n.Conditions {
			lines = append(lines, draw.Paint(draw.Tone(found.Severity), draw.Line(n.Name+": "+found.Text)))
		}
		for _, f := range n.Findings {
			lines = append(lines, draw.Paint(c.Warn, draw.Line(n.Name+": "+f.Code+": "+f.Detail)))
		}
	}
	if mixed := s.MixedVersions(); mixed != "" {
		lines = append(lines, draw.Paint(c.Warn, draw.Line(mixed)))
	}
	return append(lines, m.steered()...)
}

// steered are what operators have said and still holds.
func (m *model) steered() (lines []string) {
	for _, e := range m.reading.status.Control {
		text := string(e.Kind)
		if e.Subject != "" {
			text += " of " + e.Subject
		}
		if !e.Until.IsZero() {
			text += ", " + age(e.Until.Sub(m.now)) + " left"
		}
		if e.By != "" {
			text += ", by " + e.By
		}
		lines = append(lines, draw.Paint(draw.Colours().Warn, draw.Line(text)))
	}
	return lines
}

func mark(is bool, yes, no string, width int) string {
	if is {
		return draw.Paint(draw.Colours().Good, draw.Fit("● "+yes, width))
	}
	return draw.Paint(draw.Colours().Bad, draw.Fit("✗ "+no, width))
}

func lifeColour(life string) color.Color {
	c := draw.Colours()
	known, ok := map[string]color.Color{
		api.LifeUp: c.Good, api.LifeSuspected: c.Warn, api.LifeReturning: c.Warn, api.LifeFailed: c.Bad,
	}[life]
	if !ok {
		return c.Dim
	}
	return known
}

// age is a length in at most two units' precision: nobody reads seconds of a day.
func age(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// progressLines is the matrix: a row for each node, a column for each origin.
func (m *model) progressLines(width int) []string {
	s, c := m.reading.status, draw.Colours()
	name := 4
	for _, n := range s.Nodes {
		name = max(name, len(n.Name))
	}
	name = min(name, max(4, width/5)) + 1
	column := max(6, min(24, (width-name)/max(1, len(s.Nodes))))
	head, of := draw.Fit("", name), "of "
	if column < 12 {
		of = ""
	}
	for _, origin := range s.Nodes {
		head += draw.Fit(of+draw.Line(origin.Name), column)
	}
	lines := []string{draw.Paint(c.Dim, head)}
	for _, node := range s.Nodes {
		line := draw.Fit(draw.Line(node.Name), name)
		for _, origin := range s.Nodes {
			line += m.cell(node, origin, column)
		}
		lines = append(lines, line)
	}
	return lines
}

// cell is how far node has applied origin. What it lacks of a node that is lost is a
// gap; of one that lives it is under way.
func (m *model) cell(node, origin api.Node, width int) string {
	c := draw.Colours()
	if node.Name == origin.Name {
		return draw.Paint(c.Dim, draw.Fit("·", width))
	}
	all := m.reading.status.Progress
	i := slices.IndexFunc(all, func(p api.Progress) bool { return p.Origin == origin.Name && p.Node == node.Name })
	if i < 0 {
		return draw.Paint(c.Dim, draw.Fit("–", width))
	}
	p := all[i]
	sign := link(node, origin.Name)
	text := p.LSN.String()
	switch {
	case p.LSN == 0:
		text = "unknown"
	case p.Missing > 0 && width >= 18:
		text = "−" + size(p.Missing) + " " + text
	case p.Missing > 0:
		text = "−" + size(p.Missing)
	case lipgloss.Width(sign+text) >= width:
		text = "="
	}
	text = draw.Fit(sign+text, width)
	switch {
	case p.Missing > 0 && origin.Life != api.LifeUp:
		return lipgloss.NewStyle().Bold(true).Foreground(c.Bad).Render(text)
	case p.Missing > 0, sign != "", p.LSN == 0:
		return draw.Paint(c.Warn, text)
	}
	return draw.Paint(c.Good, text)
}

// link is a sign for a subscription that does not run.
func link(node api.Node, origin string) string {
	sign := ""
	for _, s := range node.Subscriptions {
		switch {
		case s.Provider != origin:
		case s.Fenced:
			return "▣ "
		case !s.Enabled || s.Worker == "none" || s.Worker == "":
			sign = "↯ "
		}
	}
	return sign
}

// size is a number of bytes in at most six characters.
func size(n uint64) string {
	for _, u := range []struct {
		sign  string
		bytes uint64
	}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"k", 1 << 10}} {
		if n >= u.bytes {
			if v := float64(n) / float64(u.bytes); v < 100 {
				return fmt.Sprintf("%.1f%s", v, u.sign)
			}
			return fmt.Sprintf("%d%s", n/u.bytes, u.sign)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// slotLines has the slots that hold back most first.
func (m *model) slotLines(width int) []string {
	c := draw.Colours()
	slots := slices.Clone(m.reading.status.Slots)
	slices.SortStableFunc(slots, func(a, b api.Slot) int { return int(min(max(b.RetainedBytes-a.RetainedBytes, -1), 1)) })
	most, names := int64(1), len("on → for")
	for _, s := range slots {
		most = max(most, s.RetainedBytes)
		names = max(names, lipgloss.Width(s.Node+" → "+s.For))
	}
	names = min(names, width/2) + 1
	lines := []string{draw.Paint(c.Dim, draw.Fit("on → for", names)+fmt.Sprintf("%-10s%9s  %-11s", "kind", "retained", "wal"))}
	bar := max(0, width-names-10-9-2-11)
	for _, s := range slots {
		tone := c.Accent
		switch {
		case s.WALStatus == "lost" || s.WALStatus == "unreserved":
			tone = c.Bad
		case s.AtRisk:
			tone = c.Warn
		}
		retained := max(0, s.RetainedBytes)
		lines = append(lines, draw.Fit(draw.Line(s.Node+" → "+s.For), names)+draw.Fit(draw.Line(string(s.Kind)), 10)+
			draw.Paint(tone, fmt.Sprintf("%9s  %-11s", size(uint64(retained)), draw.Line(s.WALStatus)))+
			draw.Paint(tone, strings.Repeat("━", int(int64(bar)*retained/most))))
	}
	return lines
}

// healingLines has what runs, what is refused, and what was done, the newest plan first.
func (m *model) healingLines(width int) []string {
	s, c := m.reading.status, draw.Colours()
	now := m.now.Sub(m.start)
	var lines []string
	shown := ""
	if r := s.Current; r != nil {
		lines = append(lines, draw.Bold(draw.Line(r.Kind+" of "+r.Node))+draw.Paint(c.Dim, "  "+words.Duration(time.Duration(r.Duration))))
		shown = r.ID
		if p := m.planOf(r.ID); p != nil {
			lines = append(lines, p.Lines(now)...)
		} else {
			lines = append(lines, draw.Paint(c.Warn, draw.Spinner(now)+" ")+draw.Line(r.Step))
		}
	}
	for _, r := range s.Refusals {
		lines = append(lines, draw.Paint(c.Warn, draw.Line(r.Subject+": "+r.Reason))+" "+draw.Line(r.Why))
		lines = append(lines, fold("→ "+draw.Line(r.Remedy), width)...)
	}
	for _, p := range slices.Backward(m.plans) {
		if p.ID == shown || p.End == "" {
			continue
		}
		lines = append(lines, draw.Bold(p.Title))
		lines = append(lines, p.Lines(now)...)
		lines = append(lines, draw.Paint(c.Dim, "  "+p.End))
		shown = p.ID
	}
	if r := s.Last; r != nil && m.planOf(r.ID) == nil {
		lines = append(lines, draw.Paint(c.Dim, draw.Line(fmt.Sprintf("last: %s of %s %s in %s, %d transactions, %d rows repaired",
			r.Kind, r.Node, r.State, words.Duration(time.Duration(r.Duration)), r.Transactions, r.Repaired))))
		if r.Error != "" {
			lines = append(lines, fold(draw.Line(r.Error+"; "+r.Hint), width)...)
		}
	}
	if len(lines) == 0 {
		lines = []string{draw.Paint(c.Dim, "nothing to heal")}
	}
	return lines
}

func (m *model) planOf(id string) *draw.Plan {
	i := slices.IndexFunc(m.plans, func(p *draw.Plan) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return m.plans[i]
}

// fold breaks a long text into lines: a remedy must be readable to its end.
func fold(s string, width int) []string {
	return strings.Split(lipgloss.Wrap(s, max(10, width-2), " "), "\n")
}

func (m *model) eventLines(int) []string {
	c := draw.Colours()
	var lines []string
	if m.bus != "" {
		lines = append(lines, draw.Paint(c.Warn, draw.Line("no events: "+m.bus)))
	}
	for _, e := range m.events {
		lines = append(lines, draw.Paint(c.Dim, e.Time.UTC().Format("15:04:05"))+"  "+
			draw.Paint(draw.Tone(e.Severity), draw.Fit(draw.Line(string(e.Kind())), 21))+draw.Fit(draw.Line(e.Subject), 6)+draw.Line(words.Of(e)))
	}
	if len(lines) == 0 {
		lines = []string{draw.Paint(c.Dim, "none in the last hour")}
	}
	return lines
}
