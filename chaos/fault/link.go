package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// deaf is how long a cut wire is listened to: a living one answers in a millisecond.
const deaf = 200 * time.Millisecond

// others are the peers that a fault is about.
func (f Fault) others(nodes []string) []string {
	if f.Peer != "" {
		return []string{f.Peer}
	}
	var out []string
	for _, n := range nodes {
		if n != f.Node {
			out = append(out, n)
		}
	}
	return out
}

func (f Fault) wires(w World) ([]Wire, error) {
	if door, ok := w.Door(f.Node, f.Link); ok {
		return []Wire{door}, nil
	}
	var all []Wire
	for _, p := range f.others(w.Nodes()) {
		ws, err := w.Wires(f.Link, f.Node, p)
		if err != nil {
			return nil, err
		}
		all = append(all, ws...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no link of %s", f.Node)
	}
	return all, nil
}

// bends bends every wire of the fault.
func bends(b Bend) injection {
	return func(ctx context.Context, w World, f Fault, a *Active) error {
		wires, err := f.wires(w)
		if err != nil {
			return err
		}
		b := b
		b.Delay, b.Rate = f.Delay, f.Rate
		if f.Way != "" {
			b.Cut = f.Way
		}
		return bendAll(ctx, wires, b, a)
	}
}

func bendAll(ctx context.Context, wires []Wire, b Bend, a *Active) error {
	for _, wire := range wires {
		undo, err := wire.Bend(b)
		if err != nil {
			return fmt.Errorf("%s: %w", wire.Name(), err)
		}
		a.onHeal(func(context.Context) error { return undo() })
	}
	// One wire is asked: they all go through the same code, and asking takes as long
	// as the fault makes it.
	proof, err := prove(ctx, wires[0], b)
	if err != nil {
		return fmt.Errorf("%s: %w", wires[0].Name(), err)
	}
	a.Proof = fmt.Sprintf("%s on %d links", proof, len(wires))
	return nil
}

// signBytes is how many bytes a probe and its answer have at least.
const signBytes = 9

// prove asks the wire for a sign of life, and finds that it is bent.
func prove(ctx context.Context, wire Wire, b Bend) (string, error) {
	slow := 2 * b.Delay
	if b.Rate > 0 {
		slow += time.Duration(signBytes) * time.Second / time.Duration(b.Rate)
	}
	if slow > 0 {
		took, err := wire.Probe(ctx, slow+deaf)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
			return "", fmt.Errorf("%w: %w", ErrMoot, err)
		}
		if took < slow {
			return "", fmt.Errorf("a sign of life took %s and not %s: %w", took, slow, err)
		}
		return fmt.Sprintf("a sign of life took %s", took.Round(time.Millisecond)), nil
	}
	if b.Refuse {
		return "the connection is refused", refuses(ctx, wire)
	}
	took, err := wire.Probe(ctx, deaf)
	switch {
	case err == nil:
		return "", fmt.Errorf("it answered after %s: %w", took, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no sign of life", nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "", fmt.Errorf("%w: %w", ErrMoot, err)
	}
	return "", err
}

// refuses waits until the port does: while a program is being started its process has the
// port too, and the kernel takes connections of which nobody knows.
func refuses(ctx context.Context, wire Wire) error {
	ctx, cancel := context.WithTimeout(ctx, deaf)
	defer cancel()
	return await(ctx, func() error {
		took, err := wire.Probe(ctx, deaf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		return fmt.Errorf("it answered after %s: %w", took, err)
	})
}

func linkReset(_ context.Context, w World, f Fault, a *Active) error {
	wires, err := f.wires(w)
	if err != nil {
		return err
	}
	reset := 0
	for _, wire := range wires {
		n, err := wire.Reset()
		if err != nil {
			return fmt.Errorf("%s: %w", wire.Name(), err)
		}
		reset += n
	}
	if reset == 0 {
		return fmt.Errorf("%w: there was no connection to reset", ErrMoot)
	}
	a.Proof = fmt.Sprintf("%d connections were reset", reset)
	return nil
}

func natsServerLoss(ctx context.Context, w World, f Fault, a *Active) error {
	f.Link = NATS
	wires, err := f.wires(w)
	if err != nil {
		return err
	}
	return bendAll(ctx, wires, Bend{Cut: Both}, a)
}

func natsGone(ctx context.Context, w World, _ Fault, a *Active) error {
	nodes := w.Nodes()
	var all []Wire
	for i, n := range nodes {
		for _, p := range nodes[i+1:] {
			wires, err := w.Wires(NATS, n, p)
			if err != nil {
				return err
			}
			all = append(all, wires...)
		}
	}
	return bendAll(ctx, all, Bend{Cut: Both}, a)
}

func diskFull(_ context.Context, w World, f Fault, a *Active) error {
	d, err := w.Disk(f.Node)
	if err != nil {
		return err
	}
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s)) // a server that could not write its log has ended
	free, err := d.Fill()
	if free != nil {
		a.onHeal(func(context.Context) error { return free() })
	}
	if err != nil {
		return err
	}
	left, err := d.Left()
	if err != nil {
		return err
	}
	if left > 64<<10 {
		return fmt.Errorf("%d bytes can still be written", left)
	}
	a.Proof = fmt.Sprintf("%d bytes are left", left)
	return nil
}
