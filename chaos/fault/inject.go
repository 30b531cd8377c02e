package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// injection makes a fault. Whatever it has done it puts into a before it goes on, so
// that it can be healed half way through.
type injection func(ctx context.Context, w World, f Fault, a *Active) error

// Active is a fault that was injected, in whole or in part.
type Active struct {
	Fault Fault
	// Proof is what showed that it took effect.
	Proof string
	// Node is whom it befell, where the fault itself does not say.
	Node string

	undo []func(context.Context) error
}

// Inject makes a fault in a world. When it fails, what was made of it is there to be
// healed all the same: Active is never nil.
func Inject(ctx context.Context, w World, f Fault) (*Active, error) {
	a := &Active{Fault: f, Node: f.Node}
	if errs := f.Check(w.Nodes()); len(errs) > 0 {
		return a, errors.Join(errs...)
	}
	k, _ := f.Kind.entry()
	if err := k.inject(ctx, w, f, a); err != nil {
		return a, fmt.Errorf("%s: %w", f, err)
	}
	if a.Proof == "" {
		return a, fmt.Errorf("%s: nothing shows that it took effect", f)
	}
	return a, nil
}

// Heal ends the fault: what was done last is undone first. It may be called again, and
// then tries again what failed.
func (a *Active) Heal(ctx context.Context) error {
	for len(a.undo) > 0 {
		last := a.undo[len(a.undo)-1]
		if err := last(ctx); err != nil {
			return fmt.Errorf("heal %s: %w", a.Fault, err)
		}
		a.undo = a.undo[:len(a.undo)-1]
	}
	return nil
}

// onHeal adds what undoes the last thing that was done.
func (a *Active) onHeal(undo func(context.Context) error) { a.undo = append(a.undo, undo) }

// await asks until the condition holds or ctx ends; its error is the last objection.
func await(ctx context.Context, cond func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// command runs the user's programs.
func command(ctx context.Context, w World, f Fault, a *Active) error {
	a.onHeal(func(ctx context.Context) error { return w.Command(ctx, f.Undo) })
	if err := w.Command(ctx, f.Run); err != nil {
		return err
	}
	a.Proof = "the program's exit code is 0"
	return nil
}
