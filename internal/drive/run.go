package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/config"
	"healer/control"
	"healer/executor"
	"healer/internal/cli"
	"healer/internal/meter"
	"healer/internal/reach"
	"healer/internal/steps"
	"healer/planner"
	"healer/postgres"
	"healer/topology"
)

// agentsWithin is how long the agents may take to say what they know.
const agentsWithin = 2 * time.Second

// order is what `healer recovery run` was told.
type order struct {
	failed            string
	part              planner.Part
	rows              bool
	dryRun, yes, wait bool
	incarnation       string
}

func runCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run --failed NODE --config FILE",
		Short: "Carry out the recovery of a lost node by hand",
		Long: strings.TrimSpace(`
Carry out the recovery of a lost node: fence the survivors off from it, carry what some
of them lack from one that has it, compare, release. It is the plan that agents make,
and the steps that they take, under the same locks: where an agent is at it already this
command yields to it, and an agent yields to this command. No agent has to run.

The node must not answer. Other nodes that do not answer are taken for lost as well, and
are healed when they are back; more than half of the nodes must be there.

--source and --target do a part of it: from one survivor, for one laggard. The survivors
are all fenced off all the same, until the node returns and agents take it back.

--rows is for a gap that no slot covers any more: all tables are compared whole, and the
laggard's rows made those of the survivor that has them. These are rows and not
transactions, and only when all are equal do they count as carried. It is the default
where the file has recovery.fallback: rows.

Killed in the middle it leaves marks, by which an agent, or this command again, goes on.

Exits 0 when it is done or nothing was to be done, 1 when it was refused, yielded, or
failed.`),
		Example: "  healer recovery run --config healer.yaml --failed n1 --dry-run\n  healer recovery run --config healer.yaml --failed n1 --source n2 --target n3 --yes",
		Args:    cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	o := order{}
	fs := cmd.Flags()
	fs.StringVar(&o.failed, "failed", "", "the lost `NODE`")
	fs.StringVar(&o.part.Source, "source", "", "carry from this `NODE` only")
	fs.StringVar(&o.part.Target, "target", "", "heal this `NODE` only")
	fs.BoolVar(&o.rows, "rows", false, "where no log has the transactions any more, carry rows in their place")
	fs.BoolVar(&o.dryRun, "dry-run", false, "show the plan, and do nothing")
	fs.BoolVar(&o.yes, "yes", false, "do not ask for the name of the lost node")
	fs.BoolVar(&o.wait, "wait", false, "wait for what may pass by itself, and for another recovery of the node, and try again")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, o.check, func(m *mesh) error { return m.recover(cmd, f, o) })
	}
	return cmd
}

// check refuses what can be refused without asking a server.
func (o order) check(m *mesh) error {
	if err := m.known("failed", o.failed); err != nil {
		return err
	}
	for _, p := range []struct{ flag, node string }{{"source", o.part.Source}, {"target", o.part.Target}} {
		switch {
		case p.node == "":
		case p.node == o.failed:
			return fmt.Errorf("--%s %s: that is the lost node", p.flag, p.node)
		default:
			if err := m.known(p.flag, p.node); err != nil {
				return err
			}
		}
	}
	if o.part.Source != "" && o.part.Source == o.part.Target {
		return fmt.Errorf("--source and --target are both %s: nothing is carried from a node to itself", o.part.Source)
	}
	return nil
}

// recover plans, asks, and carries out, again and again if it is to wait.
func (m *mesh) recover(cmd *cobra.Command, f *flags, o order) error {
	ctx := cmd.Context()
	if err := reach.CanAsk(m.cfg); err != nil {
		return err
	}
	o.incarnation = "by hand " + time.Now().UTC().Format(time.RFC3339Nano)
	asked := o.yes
	for {
		d, err := m.prepare(ctx, o)
		if err != nil {
			return err
		}
		switch {
		case d.Refusal == nil && !o.dryRun && !d.Empty():
			if !asked {
				means := "The survivors stay fenced off from " + o.failed + " until it returns."
				if err := cli.Confirm(cmd, o.failed, means, func(w io.Writer) error { d.explain(w); return nil }); err != nil {
					return err
				}
				asked = true
			}
			if err := m.carryOut(ctx, o, d, cmd.ErrOrStderr()); err != nil {
				return err
			}
		case d.Refusal != nil && d.Refusal.Wait && o.wait && !o.dryRun:
			d.again = true
		}
		if d.again && o.wait && postgres.Pause(ctx, look) == nil {
			continue
		}
		if err := f.show(cmd.OutOrStdout(), d, d.table); err != nil {
			return err
		}
		return d.verdict(ctx)
	}
}

// prepare observes and plans.
func (m *mesh) prepare(ctx context.Context, o order) (*ran, error) {
	obs := m.observe(ctx)
	t := m.trigger(ctx, obs, o.failed)
	t.Incarnation = o.incarnation
	if n, _ := obs.Node(o.failed); n.Reachable {
		t.Lost = t.Lost[1:] // whether there is still something to finish is for the planner to say
	}
	p, refusal, err := steps.Plan(ctx, m.Engine, t, obs, m.policy(o))
	if err != nil {
		return nil, err
	}
	if refusal != nil && refusal.Reason == planner.ProviderUnknown {
		// An agent remembers what the lost node answered while it lived.
		refusal.Remedy = "let an agent run that knew " + o.failed + ", or give " + o.failed +
			" the dsn in the file that leads where the subscription's connection string does"
	}
	if refusal == nil {
		refusal = m.agentsSay(ctx, o.failed)
	}
	return &ran{planned: planned{p, t.Lost, refusal}, DryRun: o.dryRun, t: t, obs: obs}, nil
}

// policy is that of a person: who runs the command has approved.
func (m *mesh) policy(o order) planner.Policy {
	return planner.Policy{
		Mode: planner.ModeAuto, Quorum: planner.Quorum(m.cfg.Detection.Quorum), Only: o.part,
		Rows: o.rows || m.cfg.Recovery.Fallback == config.CarryRows,
	}
}

// agentsSay is why the agents, where some run, would work against this recovery.
func (m *mesh) agentsSay(ctx context.Context, failed string) *planner.Refusal {
	ctx, cancel := context.WithTimeout(ctx, agentsWithin)
	defer cancel()
	agents := reach.Agents(ctx, m.cfg)
	for _, n := range m.cfg.Nodes {
		s, ok := agents[n.Name]
		if !ok || n.Name == failed {
			continue
		}
		for _, e := range s.Control {
			if e.Kind == control.Cancellation && control.PlanOf(e.Subject).Node == failed {
				return &planner.Refusal{
					Reason: planner.WasCancelled, Why: "an operator has cancelled the recovery of " + failed + ", and the agents wind it down",
					Remedy: "healer recovery ack --failed " + failed,
				}
			}
		}
		for _, other := range s.Nodes {
			if other.Name == failed && other.Life == api.LifeUp && other.Reachable {
				return &planner.Refusal{
					Reason: planner.NodeAlive, Node: failed, Wait: true, Remedy: "healer status",
					Why: fmt.Sprintf("%s does not answer here, but it answers the agent of %s: it would be taken back at once", failed, n.Name),
				}
			}
		}
	}
	return nil
}

// carryOut runs the plan, and says meanwhile whose locks it waits for.
func (m *mesh) carryOut(ctx context.Context, o order, d *ran, say io.Writer) (err error) {
	lost := map[string]bool{}
	for _, n := range d.Lost {
		lost[n] = true
	}
	guard, err := watch(ctx, m.cfg, lost)
	if err != nil {
		return err
	}
	defer guard.close()
	h, err := m.hands(ctx, o, d, guard)
	if err != nil {
		return err
	}
	pace := m.pace(d, h.config.Journal)
	h.config.Journal = pace
	exec, err := executor.New(h.config)
	if err == nil {
		show := meter.Start(say, pace.line)
		defer show.Stop()
		end := m.watchLocks(ctx, d.Plan, show)
		d.take(exec.Run(ctx, d.Plan))
		end()
	}
	told := h.end(ctx)
	if err != nil {
		return err
	}
	d.Outcome.Events = told
	return nil
}

// watchLocks says whose lock the run waits for, once for each server, until the returned
// function is called.
func (m *mesh) watchLocks(ctx context.Context, p planner.Plan, say io.Writer) (end func()) {
	var servers []steps.Waiter
	for _, n := range p.Survivors {
		servers = append(servers, m.Servers[n])
	}
	said := ""
	return steps.WatchLocks(ctx, servers, func(r *planner.Refusal) {
		if r != nil && r.Node != said {
			said = r.Node
			fmt.Fprintf(say, "waiting: %s\n  %s\n", r.Why, r.Remedy)
		}
	})
}

// verdict is what the exit code says.
func (d *ran) verdict(ctx context.Context) error {
	switch {
	case d.Refusal != nil:
		return &topology.Fault{Code: string(d.Refusal.Reason), Hint: d.Refusal.Remedy, Err: d.Refusal}
	case d.Outcome == nil || d.Outcome.State == executor.Verified || d.Outcome.State == executor.Nothing:
		return nil
	case ctx.Err() != nil:
		return &topology.Fault{
			Code: "interrupted", Err: errors.New("interrupted: what was carried stays, and the marks say what is left"),
			Hint: "run it again, or let an agent run",
		}
	case d.Outcome.State == executor.Yielded:
		return &topology.Fault{
			Class: topology.Conflict, Code: "yielded", Err: fmt.Errorf("another recovery is at it: %w", d.err),
			Hint: "see healer recovery history; with --wait this command waits for it",
		}
	case d.again:
		return &topology.Fault{Code: "failed", Err: d.err, Hint: "run it again: a new plan may succeed; --wait does so by itself"}
	}
	return d.err
}
