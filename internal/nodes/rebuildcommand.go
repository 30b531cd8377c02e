package nodes

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
)

func rebuildCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebuild NAME --config FILE", Short: "Fill an emptied or replaced node from a survivor, and take it back",
		Long: strings.TrimSpace(`
Fill an emptied or replaced server from a survivor while writes go on, join it to all
others in both directions, compare all tables, and take it back. The server must run
at the node's DSN, with the database and the settings of the others. Do not let
anybody write to it before it has rejoined.

The source does not apply changes of its peers for the moment in which the snapshot
is made; what they send meanwhile is applied afterwards. It may be killed and run
again: it starts over, or goes on where the rows are complete.

Sequences that columns of the copied tables own are set beyond what is in the tables,
each in the series of its own start and increment. Others are named.`),
		Example: "  healer node rebuild n1 --config healer.yaml --dry-run\n  healer node rebuild n1 --config healer.yaml --schema-prepared --yes",
		Args:    oneNode,
	}
	c := commonFlags(cmd, check)
	o := rebuildOptions{}
	f := cmd.Flags()
	yes := f.Bool("yes", false, "do not ask for the name again")
	f.StringVar(&o.from, "from", "", "copy from this survivor; default the first that can serve")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and do nothing")
	f.BoolVar(&o.wipe, "wipe", false, "empty the node's tables first: rows that it alone has are lost")
	f.BoolVar(&o.force, "force", false, "go on although no verified recovery stands behind the loss of the node")
	f.BoolVar(&o.prepared, "schema-prepared", false, "the tables and publications are there: run no pg_dump")
	f.StringVar(&o.bin, "pg-bin", "", "look for pg_dump in this `DIR`; default PATH")
	f.IntVar(&o.jobs, "jobs", 2, "copy so many tables at once")
	f.DurationVar(&o.pause, "pause-limit", 10*time.Second, "how long the source may stand still for the snapshot")
	f.DurationVar(&o.catchUp, "catch-up-limit", time.Hour, "how long replication may take to catch up")
	f.StringToStringVar(&o.connections, "connection", nil, "how the others connect to a node: `NODE=CONNINFO`; default as they do already, or the DSN of the file")
	f.StringArrayVar(&o.slots, "slot", nil, "drop this slot of a survivor, which fed the node before: `NODE/SLOT`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.node = args[0]
		return c.rebuild(cmd, o, *yes)
	}
	return cmd
}

func (c *common) rebuild(cmd *cobra.Command, o rebuildOptions, yes bool) error {
	if o.jobs < 1 || o.pause < time.Millisecond || o.catchUp < time.Second {
		return cli.Usage(cmd, fmt.Errorf("--jobs must be 1 at least, --pause-limit 1ms, --catch-up-limit 1s"))
	}
	ctx := cmd.Context()
	m, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := m.planRebuild(ctx, o)
	if err != nil {
		return err
	}
	if o.dryRun {
		return c.write(cmd.OutOrStdout(), r.result, r.result.write)
	}
	if !yes {
		if err := cli.Confirm(cmd, o.node, "This cannot be taken back.", r.result.write); err != nil {
			return err
		}
	}
	r.out = cmd.ErrOrStderr()
	if err := r.run(ctx); err != nil {
		return err
	}
	return c.write(cmd.OutOrStdout(), r.result, r.result.write)
}

// write tells an operator what was, or would be, done.
func (r *rebuilt) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is filled from %s: %d tables\n", r.Node, r.Source, r.Tables)
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	for _, s := range r.Sequences {
		fmt.Fprintf(&b, "sequence %s gives %d next\n", s.Sequence, s.Next)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if r.Verified {
		fmt.Fprintf(&b, "%d rows copied; %d rows compared, all equal; the source stood still for %d ms; event node.rejoined: %s\n",
			r.RowsCopied, r.RowsCompared, r.PauseMS, r.Event)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
