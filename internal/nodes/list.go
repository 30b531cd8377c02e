package nodes

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"healer/api"
	"healer/topology"
)

// listing is the result of `healer node list`.
type listing struct {
	Cluster string   `json:"cluster"`
	Nodes   []listed `json:"nodes"`
}

// listed is one node.
type listed struct {
	Name string `json:"name"`
	// Lives has how each agent that answers judges the node.
	Lives     map[string]string `json:"lives"`
	Reachable bool              `json:"reachable"`
	Problem   string            `json:"problem,omitempty"`
	Version   int               `json:"version,omitempty"`
	Identity  topology.Identity `json:"identity"`
	// FencedOff are the nodes that read nothing from this one until it is taken
	// back, Gaps those on which a recovery of it is not verified.
	FencedOff []string `json:"fenced_off_on"`
	Gaps      []string `json:"gap_open_on"`
	// Barred is why it will not be taken back as it is.
	Barred string `json:"barred,omitempty"`
}

func (m *mesh) list() listing {
	out := listing{Cluster: m.cfg.Cluster}
	for _, n := range m.seen.Nodes {
		l := listed{
			Name: n.Name, Lives: map[string]string{}, Reachable: n.Reachable, Version: n.Version, Identity: n.Identity,
			FencedOff: []string{}, Gaps: []string{},
		}
		if !n.Reachable {
			l.Problem = lastLine(n.Problem).Error()
		}
		for agent, s := range m.agents {
			if i := slices.IndexFunc(s.Nodes, func(a api.Node) bool { return a.Name == n.Name }); i >= 0 {
				l.Lives[agent] = s.Nodes[i].Life
			}
		}
		for _, o := range m.others(n.Name) {
			if _, ok := o.FenceOf(n.Name); ok {
				l.FencedOff = append(l.FencedOff, o.Name)
			}
			if _, ok := o.GapOf(n.Name); ok {
				l.Gaps = append(l.Gaps, o.Name)
			}
			if b, ok := o.BarOf(n.Name); ok {
				l.Barred = b.Reason
			}
		}
		out.Nodes = append(out.Nodes, l)
	}
	return out
}

// life is what the agents agree on, or each of their words.
func (l listed) life() string {
	var words []string
	for _, w := range l.Lives {
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	slices.Sort(words)
	if len(words) == 0 {
		return "no agent answers"
	}
	return strings.Join(words, "/")
}

func (l listing) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tLIFE\tSERVER\tSYSTEM ID\tTIMELINE\tFENCED OFF ON\tBARRED")
	for _, n := range l.Nodes {
		server, id, timeline := "unreachable", "-", "-"
		if n.Reachable {
			server, id, timeline = fmt.Sprintf("PostgreSQL %d.%d", n.Version/10000, n.Version%10000), fmt.Sprint(n.Identity.SystemID), fmt.Sprint(n.Identity.Timeline)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.life(), server, id, timeline, dash(strings.Join(n.FencedOff, ",")), dash(n.Barred))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
