package uninstall

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/internal/reach"
	"healer/topology"
)

const (
	// agentAnswers bounds the wait for agents that may run.
	agentAnswers = 3 * time.Second
	// removeLimit bounds one removal: a slot may be held until a dead reader's
	// connection is given up.
	removeLimit = time.Minute
)

// flags are those of the command.
type flags struct {
	output             string
	force, dryRun, yes bool
}

// Command is `healer uninstall`.
func Command(check config.DSNCheck) *cobra.Command {
	f := flags{output: "table"}
	cmd := &cobra.Command{
		Use:   "uninstall --config FILE",
		Short: "Take back from the servers what Healer has made there",
		Long: strings.TrimSpace(`
Take back from every server what Healer has made there, and nothing else: its recovery
slots and their clones, its publications, its marks and origins. Subscriptions that
Healer disabled are enabled again, where the node they read from has come back as it
was; the same is asked of it as when agents take a node back. The mesh replicates on by
itself. Slots and subscriptions that "healer node rebuild" made are the mesh's and stay.

It refuses, and names what stands in the way with its remedy, while agents run (they
would make it all again), while a node does not answer, while one is fenced off that has
not come back or not as it was, and while a recovery is not finished. --force goes on
beside running agents, and without the nodes that do not answer; the rest it does not
force. It may be killed and run again: what is gone already is no error.

What is on the agents' hosts stays: the program, the file, the data directories; of an
external NATS also the stream.

Exits 0 when nothing of Healer's is left on the nodes that answer, 1 when it was refused
or failed, 64 when wrongly called.`),
		Example: "  healer uninstall --config healer.yaml --dry-run\n  healer uninstall --config healer.yaml --yes",
		Args:    cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	fs := cmd.Flags()
	fs.StringVarP(&f.output, "output", "o", f.output, "how to write the result: `table|json`")
	fs.BoolVar(&f.force, "force", false, "although agents run, or nodes do not answer")
	fs.BoolVar(&f.dryRun, "dry-run", false, "show what would be taken back, and change nothing")
	fs.BoolVar(&f.yes, "yes", false, "do not ask for the name of the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.output != "table" && f.output != "json" {
			return cli.Usage(cmd, fmt.Errorf("--output %q: use table or json", f.output))
		}
		c, err := cli.LoadConfig(cmd, *file, check)
		if err != nil {
			return err
		}
		return f.run(cmd, c)
	}
	return cmd
}

func (f flags) run(cmd *cobra.Command, c *config.Config) error {
	ctx := cmd.Context()
	if err := reach.CanAsk(c); err != nil && !f.force {
		return err
	}
	r, err := reach.Open(c, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	m := &mesh{Cluster: r, cfg: c, seen: r.Observe(ctx, nil)}
	w := &work{Cluster: c.Cluster, DryRun: f.dryRun, Running: running(ctx, c), Removed: []thing{}}
	no := m.plan(ctx, w)
	if f.dryRun {
		if err := f.write(cmd.OutOrStdout(), w); err != nil {
			return err
		}
	}
	if err := f.refused(w, no); err != nil || f.dryRun {
		return err
	}
	if len(w.Removed) > 0 && !f.yes {
		if err := cli.Confirm(cmd, c.Cluster, "Lost nodes are not healed any more.", w.write); err != nil {
			return err
		}
	}
	if err := m.carryOut(ctx, w.Removed); err != nil {
		return err
	}
	w.Done = true
	return f.write(cmd.OutOrStdout(), w)
}

// running are the agents that answer.
func running(ctx context.Context, c *config.Config) []string {
	ctx, cancel := context.WithTimeout(ctx, agentAnswers)
	defer cancel()
	var names []string
	for name := range reach.Agents(ctx, c) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// refused says what stands against it. What --force overrides is told first.
func (f flags) refused(w *work, no error) error {
	switch {
	case f.force:
		return no
	case len(w.Running) > 0:
		return &topology.Fault{
			Class: topology.Permanent, Code: "agents_run", Hint: "stop them: systemctl disable --now healer-agent; or --force",
			Err: fmt.Errorf("nothing was done: agents run: %s", strings.Join(w.Running, ", ")),
		}
	case len(w.Unread) > 0 && no == nil:
		return &topology.Fault{
			Class: topology.Permanent, Code: "node_unreachable", Node: w.Unread[0],
			Hint: "start them; or --force, and run it again when they are back",
			Err:  fmt.Errorf("nothing was done: these nodes do not answer: %s", strings.Join(w.Unread, ", ")),
		}
	default:
		return no
	}
}

// carryOut takes back what is listed. Each is done already when the thing is gone.
func (m *mesh) carryOut(ctx context.Context, all []thing) error {
	for _, t := range all {
		if err := m.remove(ctx, t); err != nil {
			return fmt.Errorf("%s %s on %s: %w", t.Kind, t.Name, t.Node, err)
		}
	}
	return nil
}

func (m *mesh) remove(ctx context.Context, t thing) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	switch t.Kind {
	case kindFence:
		return m.Engine.Unfence(ctx, t.Node, t.fence)
	case kindSlot:
		return m.Engine.DropSlot(ctx, t.Node, t.Name)
	case kindPublication:
		return m.Engine.DropPublication(ctx, t.Node, t.Name)
	default:
		return m.Engine.ForgetMark(ctx, t.Node, t.about, t.Name)
	}
}

// write writes the result for programs, or for people.
func (f flags) write(out io.Writer, w *work) error {
	if f.output != "json" {
		return w.write(out)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(w)
}

func (w *work) write(out io.Writer) error {
	var b strings.Builder
	verb := map[bool]string{true: "removed", false: "to be removed"}[w.Done]
	for _, t := range w.Removed {
		switch {
		case t.Kind != kindFence:
			fmt.Fprintf(&b, "%s  %s: %s %s\n", verb, t.Node, t.Kind, cli.Clean(t.Name))
		case w.Done:
			fmt.Fprintf(&b, "enabled  %s: subscription %s %s\n", t.Node, cli.Clean(t.Name), t.Why)
		default:
			fmt.Fprintf(&b, "to be enabled  %s: subscription %s %s\n", t.Node, cli.Clean(t.Name), t.Why)
		}
	}
	for _, t := range w.Left {
		fmt.Fprintf(&b, "left  %s: %s %s: %s\n", t.Node, t.Kind, cli.Clean(t.Name), t.Why)
	}
	for _, n := range w.Unread {
		fmt.Fprintf(&b, "not read  %s: it does not answer; run this again when it is back\n", n)
	}
	if len(w.Running) > 0 {
		fmt.Fprintf(&b, "agents run on %s: they make all of it again\n", strings.Join(w.Running, ", "))
	}
	if len(w.Removed) == 0 {
		fmt.Fprintf(&b, "nothing of Healer's is left on the nodes that answer\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
