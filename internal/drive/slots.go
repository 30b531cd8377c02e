package drive

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/topology"
)

// held is a slot with the node it is on.
type held struct {
	Node string `json:"node"`
	topology.Slot
}

// SlotsCommand is `healer slots`.
func SlotsCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use: "slots", Short: "Look at replication slots, and copy, move or drop Healer's own",
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listCommand(check), cloneCommand(check), advanceCommand(check), dropCommand(check))
	return cmd
}

// slotList is the result of `healer slots list` for programs.
type slotList struct {
	Slots []held `json:"slots"`
	// Silent are the nodes that did not answer, with the reason.
	Silent map[string]string `json:"silent"`
}

func listCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list --config FILE",
		Short:   "List the logical slots of all nodes",
		Example: "  healer slots list --config healer.yaml --all",
		Long: strings.TrimSpace(`
List the logical slots of the nodes' databases: Healer's recovery slots, their seeds and
clones, those that feed the mesh, and with --all those of others. Confirmed and restart
are positions in the log of the slot's own node.`),
		Args: cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	node := cmd.Flags().StringP("node", "n", "", "the slots of this `NODE` only")
	all := cmd.Flags().Bool("all", false, "slots of others too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) error {
			if *node == "" {
				return nil
			}
			return m.known("node", *node)
		}, func(m *mesh) error {
			obs := m.observe(cmd.Context())
			l := slotList{Slots: []held{}, Silent: map[string]string{}}
			for _, n := range obs.Nodes {
				if *node != "" && n.Name != *node {
					continue
				}
				if !n.Reachable {
					l.Silent[n.Name] = n.Problem
				}
				for _, s := range n.Slots {
					if *all || s.Kind != topology.SlotForeign {
						l.Slots = append(l.Slots, held{n.Name, s})
					}
				}
			}
			slices.SortFunc(l.Slots, func(a, b held) int {
				return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
			})
			if err := f.show(cmd.OutOrStdout(), l, l.table); err != nil {
				return err
			}
			for name, problem := range l.Silent {
				return &topology.Fault{
					Class: topology.Transient, Code: "node_unreachable", Node: name,
					Hint: "see that the server runs and accepts the DSN of the file", Err: fmt.Errorf("its slots are not known: %s", problem),
				}
			}
			return nil
		})
	}
	return cmd
}

func (l slotList) table(w io.Writer) {
	row(w, "NODE", "SLOT", "KIND", "FOR", "OF", "ACTIVE", "CONFIRMED", "RESTART", "RETAINED", "WAL")
	for _, s := range l.Slots {
		row(w, s.Node, s.Name, s.Kind, orDash(s.To), orDash(s.Origin), yes(s.Active), s.Confirmed, s.Restart,
			fmt.Sprintf("%d B", s.RetainedBytes), orDash(s.WALStatus))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// done is what a command did to a slot, or would do.
type done struct {
	Node   string `json:"node"`
	Slot   string `json:"slot"`
	Did    string `json:"did"`
	DryRun bool   `json:"dry_run"`
	// From and To are the slot's positions before and after, where it moves.
	From topology.LSN `json:"from,omitempty"`
	To   topology.LSN `json:"to,omitempty"`
	Note string       `json:"note,omitempty"`
}

func (d done) table(w io.Writer) {
	if d.DryRun {
		fmt.Fprint(w, "would have: ")
	}
	fmt.Fprintf(w, "%s on %s: %s\n", d.Slot, d.Node, d.Did)
	if d.Note != "" {
		fmt.Fprintln(w, d.Note)
	}
}

// slotOf finds a slot of a node.
func slotOf(obs topology.Observation, node, name string) (topology.Slot, error) {
	n, _ := obs.Node(node)
	if !n.Reachable {
		return topology.Slot{}, &topology.Fault{
			Class: topology.Transient, Code: "node_unreachable", Node: node,
			Hint: "see that the server runs and accepts the DSN of the file", Err: fmt.Errorf("%s", n.Problem),
		}
	}
	i := slices.IndexFunc(n.Slots, func(s topology.Slot) bool { return s.Name == name })
	if i < 0 {
		return topology.Slot{}, &topology.Fault{
			Code: "slot_missing", Node: node, Hint: "healer slots list --all shows those there are",
			Err: fmt.Errorf("there is no logical slot %q in database %s", name, n.Database),
		}
	}
	return n.Slots[i], nil
}
