package nodes

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/events"
	"healer/internal/cli"
)

// Commands are those of `healer node` which need no agent.
func Commands(check config.DSNCheck) []*cobra.Command {
	return []*cobra.Command{listCommand(check), dropCommand(check), rebuildCommand(check)}
}

// common are the flags that all of them have.
type common struct {
	file   *string
	output string
	check  config.DSNCheck
}

func commonFlags(cmd *cobra.Command, check config.DSNCheck) *common {
	c := &common{file: cli.ConfigFlag(cmd), check: check, output: "table"}
	cmd.Flags().StringVarP(&c.output, "output", "o", c.output, "how to write the result: `table|json`")
	return c
}

// open checks the flags, reads the file, and connects to its cluster.
func (c *common) open(cmd *cobra.Command) (*mesh, error) {
	if c.output != "table" && c.output != "json" {
		return nil, cli.Usage(cmd, fmt.Errorf("--output %q: use table or json", c.output))
	}
	cfg, err := cli.LoadConfig(cmd, *c.file, c.check)
	if err != nil {
		return nil, err
	}
	return open(cmd.Context(), cfg)
}

// write writes a result for programs, or as the given function does.
func (c *common) write(w io.Writer, v any, table func(io.Writer) error) error {
	if c.output != "json" {
		return table(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// oneNode wants the name of a node.
func oneNode(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cli.Usage(cmd, fmt.Errorf("`%s` needs the NAME of one node", cmd.CommandPath()))
	}
	return nil
}

func listCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list --config FILE", Short: "List the nodes: who lives, which server it is, who is fenced off from it",
		Example: "  healer node list --config healer.yaml",
		Args:    cli.NoArgs,
	}
	c := commonFlags(cmd, check)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m, err := c.open(cmd)
		if err != nil {
			return err
		}
		defer m.Close()
		l := m.list()
		return c.write(cmd.OutOrStdout(), l, l.write)
	}
	return cmd
}

func dropCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use: "drop NAME --config FILE", Short: "Remove a lost node from the survivors for good",
		Long: strings.TrimSpace(`
Remove what belongs to a lost node from all survivors: their subscriptions to it,
the slots and the marks they keep for it. Nothing else is touched. The node must be
lost, the majority of the nodes must be there, and the recovery of the node must be
verified on every survivor. It may be killed and run again.

With --force it is dropped without a verified recovery. What then is on one survivor
and not on another stays so: the command says how much that is. What only the node
itself had written goes with it in any case: the command says how much, at most.

Afterwards remove the node from the file and restart the agents.`),
		Example: "  healer node drop n1 --config healer.yaml --dry-run\n  healer node drop n1 --config healer.yaml --yes",
		Args:    oneNode,
	}
	c := commonFlags(cmd, check)
	o := dropOptions{}
	f := cmd.Flags()
	yes := f.Bool("yes", false, "do not ask for the name again")
	f.BoolVar(&o.force, "force", false, "drop it although no verified recovery stands behind its loss")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	f.StringArrayVar(&o.slots, "slot", nil, "drop this slot of a survivor too, which fed the node: `NODE/SLOT`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.node = args[0]
		return c.drop(cmd, o, *yes)
	}
	return cmd
}

func (c *common) drop(cmd *cobra.Command, o dropOptions, yes bool) error {
	ctx := cmd.Context()
	m, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer m.Close()
	d, err := m.planDrop(ctx, o)
	if err != nil {
		return err
	}
	d.Lines = linesOf(*c.file, o.node)
	if o.dryRun || len(d.Removed) == 0 {
		return c.write(cmd.OutOrStdout(), d, d.write)
	}
	if !yes {
		if err := cli.Confirm(cmd, o.node, "This cannot be taken back.", d.write); err != nil {
			return err
		}
	}
	if err := m.carryOut(ctx, d); err != nil {
		return err
	}
	data := events.Dropped{Node: o.node, Forced: !d.Verified, Lost: d.Lost, Unsent: d.Unsent}
	for _, n := range m.others(o.node) {
		data.Survivors = append(data.Survivors, n.Name)
	}
	d.Event = "published"
	if err := tell(ctx, m.cfg, m.fact(events.NodeDropped, o.node), data); err != nil {
		d.Event = "not published: " + err.Error()
	}
	return c.write(cmd.OutOrStdout(), d, d.write)
}

// fact is what happened to a node in its present life, going by the agents.
func (m *mesh) fact(k events.Kind, node string) events.Fact {
	f := events.Fact{Cluster: m.cfg.Cluster, Kind: k, Node: node}
	n, _ := m.seen.Node(node)
	for _, o := range m.others(node) {
		if fence, ok := o.FenceOf(node); ok {
			f.Detail = []string{fence.Mark}
			break
		}
	}
	if n.Reachable {
		f.Detail = []string{fmt.Sprint(n.Identity.SystemID, n.Identity.StartedAt)}
	}
	return f
}

// linesOf says where the file describes a node.
func linesOf(file, node string) string {
	src, err := os.ReadFile(file)
	if err != nil {
		return "the entry of " + node
	}
	first, last, ok := config.NodeLines(src, node)
	switch {
	case !ok:
		return "the entry of " + node
	case first == last:
		return fmt.Sprintf("line %d", first)
	default:
		return fmt.Sprintf("lines %d to %d", first, last)
	}
}

// write tells an operator what was removed, and what is left to do.
func (d *dropped) write(w io.Writer) error {
	var b strings.Builder
	verb := "removed"
	if d.DryRun || d.Event == "" {
		verb = "to be removed"
	}
	if !d.Verified {
		fmt.Fprintf(&b, "no verified recovery stands behind this: %s%s\n", d.Why, spelled(d.Lost))
	}
	if len(d.Removed) > 0 {
		fmt.Fprintf(&b, "%s\n", d.goes())
	}
	if len(d.Removed) == 0 {
		fmt.Fprintf(&b, "nothing of %s is left on any survivor\n", d.Node)
	}
	for _, r := range d.Removed {
		fmt.Fprintf(&b, "%s  %s: %s %s\n", verb, r.Node, r.Kind, r.Name)
	}
	for _, r := range d.Left {
		fmt.Fprintf(&b, "left     %s: slot %s, which nobody reads from; if it fed %s: --slot %s/%s\n", r.Node, r.Name, d.Node, r.Node, r.Name)
	}
	if d.Event != "" {
		fmt.Fprintf(&b, "event node.dropped: %s\n", d.Event)
	}
	fmt.Fprintf(&b, "then remove %s (node %s) from the file and restart the agents\n", d.Lines, d.Node)
	_, err := io.WriteString(w, b.String())
	return err
}
