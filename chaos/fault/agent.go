package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func start(g Agent) error {
	if g.Running() {
		return nil
	}
	return g.Start()
}

func agentKill(_ context.Context, w World, f Fault, a *Active) error {
	g, err := w.Agent(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { return start(g) })
	g.Kill()
	return ended(g, a)
}

func ended(g Agent, a *Active) error {
	if g.Running() {
		return errors.New("its agent still runs")
	}
	a.Proof = "the agent's process is reaped"
	return nil
}

func agentStop(ctx context.Context, w World, f Fault, a *Active) error {
	g, err := w.Agent(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { return start(g) })
	if err := g.Stop(ctx); err != nil {
		return err
	}
	return ended(g, a)
}

func agentFreeze(ctx context.Context, w World, f Fault, a *Active) error {
	g, err := w.Agent(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { g.Thaw(); return nil })
	if err := g.Freeze(ctx); err != nil {
		return err
	}
	a.Proof = "the agent's process is stopped"
	return nil
}

// clockSlack is by how much an agent's clock may seem to differ: HTTP's dates are in
// whole seconds.
const clockSlack = 3 * time.Second

func clockStep(ctx context.Context, w World, f Fault, a *Active) error {
	if f.Offset.Abs() <= 2*clockSlack {
		return fmt.Errorf("offset %s: use more than %s either way, or it cannot be told from the clock's grain", f.Offset, 2*clockSlack)
	}
	g, err := w.Agent(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error {
		if !g.Running() {
			return nil // its next life has the right time
		}
		return g.StepClock(0)
	})
	if err := g.StepClock(f.Offset); err != nil {
		return err
	}
	said, err := g.Clock(ctx)
	if err != nil {
		return err
	}
	if off := time.Until(said) - f.Offset; off.Abs() > clockSlack {
		return fmt.Errorf("its clock says %s", said)
	}
	a.Proof = "its HTTP server says that it is " + said.UTC().Format(time.RFC3339)
	return nil
}

func natsLeaderLoss(ctx context.Context, w World, _ Fault, a *Active) error {
	leader, err := w.StreamLeader(ctx)
	if err != nil {
		return err
	}
	a.Node = leader
	g, err := w.Agent(leader)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { return start(g) })
	g.Kill()
	err = ended(g, a)
	a.Proof += "; it led the stream, beside " + leader
	return err
}
