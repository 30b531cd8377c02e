package drive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/topology"
)

// watermarks is the result of `healer recovery watermark` for programs.
type watermarks struct {
	Origin string `json:"origin"`
	// Min and Max are the least and the greatest progress of a survivor; Max
	// is the watermark once all are fenced off.
	Min    topology.LSN `json:"min"`
	Max    topology.LSN `json:"max"`
	Final  bool         `json:"final"`
	Nodes  []reached    `json:"nodes"`
	Silent []string     `json:"silent"`
}

// reached is how far one survivor is.
type reached struct {
	Node     string       `json:"node"`
	Progress topology.LSN `json:"progress"`
	// Behind is how many bytes of the origin's log lie between it and Max.
	Behind uint64 `json:"behind_bytes"`
	Source bool   `json:"source"`
	Fenced bool   `json:"fenced"`
}

func watermarkCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "watermark --failed NODE --config FILE",
		Short:   "Show how far each survivor is with the node's transactions",
		Example: "  healer recovery watermark --config healer.yaml --failed n1",
		Long: strings.TrimSpace(`
Show the last transaction of the node that each survivor has applied, as the LSN of its
commit in the node's own log: the least, the greatest, and who could be the source.
The servers are asked, no agent is needed. While a survivor is not fenced off from the
node its progress may still grow.`),
		Args: cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	failed := cmd.Flags().String("failed", "", "the `NODE` that is lost, or might be")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) error { return m.known("failed", *failed) }, func(m *mesh) error {
			w := watermarksOf(m.observe(cmd.Context()), *failed)
			if len(w.Nodes) == 0 {
				return &topology.Fault{
					Class: topology.Transient, Code: "no_survivors", Hint: "see that the other servers run and accept the DSNs of the file",
					Err: errors.New("no node that answers is known to subscribe to " + *failed),
				}
			}
			return f.show(cmd.OutOrStdout(), w, w.table)
		})
	}
	return cmd
}

func watermarksOf(obs topology.Observation, origin string) watermarks {
	w := watermarks{Origin: origin, Final: true, Nodes: []reached{}, Silent: []string{}}
	for _, n := range obs.Nodes {
		sub, ok := n.From(origin)
		switch {
		case n.Name == origin:
			continue
		case !n.Reachable:
			w.Silent = append(w.Silent, n.Name)
			continue
		case !ok || n.InRecovery:
			continue
		}
		_, marked := n.FenceOf(origin)
		fenced := marked && !sub.Enabled && sub.Worker == topology.WorkerNone
		w.Nodes = append(w.Nodes, reached{Node: n.Name, Progress: sub.Progress, Fenced: fenced})
		w.Final = w.Final && fenced
		w.Max = max(w.Max, sub.Progress)
	}
	w.Min = w.Max
	for i := range w.Nodes {
		r := &w.Nodes[i]
		w.Min = min(w.Min, r.Progress)
		r.Behind, r.Source = uint64(w.Max-r.Progress), r.Progress == w.Max
	}
	slices.SortStableFunc(w.Nodes, func(a, b reached) int {
		return cmp.Or(cmp.Compare(b.Progress, a.Progress), strings.Compare(a.Node, b.Node))
	})
	return w
}

func (w watermarks) table(out io.Writer) {
	state := "final: every survivor is fenced off"
	if !w.Final {
		state = "may still grow: not every survivor is fenced off"
	}
	fmt.Fprintf(out, "%s: least %s, greatest %s (%s)\n", w.Origin, w.Min, w.Max, state)
	if len(w.Silent) > 0 {
		fmt.Fprintf(out, "not answering, what they have is not known: %s\n", strings.Join(w.Silent, ", "))
	}
	row(out, "NODE", "PROGRESS", "BEHIND", "SOURCE", "FENCED")
	for _, r := range w.Nodes {
		row(out, r.Node, r.Progress, fmt.Sprintf("%d B", r.Behind), yes(r.Source), yes(r.Fenced))
	}
}
