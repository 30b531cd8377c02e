package attack

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"healer/internal/localpg"
	"healer/topology"
)

// TestProcessKilled kills the process that carries a gap over, with both of its
// connections, at messages of either; this process takes over.
func TestProcessKilled(t *testing.T) {
	l := newLab(t, localpg.Options{Schema: []string{small}}, seed)
	dice := random(t)
	g := l.next(mixed)
	if l.process(order{Gap: g}) {
		t.Fatal("nobody killed it")
	}
	l.done(g, "another process")
	every := 11
	if os.Getenv(envFull) != "" {
		every = 1
	}
	g = l.next(mixed)
	w := l.strike(g, Plan{}, Plan{})
	l.done(g, "this process")
	killed, tried := 0, 0
	for _, c := range []struct {
		on       string
		side     Side
		messages int
	}{
		{"session", Sent, w.session.Messages(Sent)},
		{"stream", Received, w.stream.Messages(Received)},
	} {
		for at := 1 + dice.IntN(every); at <= c.messages; at += every {
			g := l.next(mixed)
			tried++
			if l.process(order{Gap: g, On: c.on, Side: c.side, At: at}) {
				killed++
			}
			l.resume(g)
			l.done(g, fmt.Sprintf("process killed at message %d of the %s", at, c.on))
		}
	}
	if killed < tried*8/10 {
		t.Errorf("only %d of %d processes were killed", killed, tried)
	}
}

// TestTwoAtOnce lets two coordinators carry the same gap over at the same time, of
// which some are cut off: never does a transaction come twice.
func TestTwoAtOnce(t *testing.T) {
	l := newLab(t, localpg.Options{Schema: []string{small}}, seed)
	dice := random(t)
	yielded := 0
	for range rounds(t, 25) {
		g := l.next(mixed)
		plans := [2]Plan{{Side: Sent, At: 1 + dice.IntN(150), Strike: Hangup}, {}}
		if dice.IntN(2) == 0 {
			plans[1] = Plan{Side: Sent, At: 1 + dice.IntN(150), Strike: Hangup}
		}
		// A clone can be read by one at a time: each has its own, so that
		// nothing but the lock keeps them apart.
		other := g
		other.Clone = fmt.Sprintf("attack_%d_other_c", *l.gaps)
		l.exec(source, `select pg_copy_logical_replication_slot('`+g.Clone+`', '`+other.Clone+`', false, 'pgoutput')`)
		var errs [2]error
		var wg sync.WaitGroup
		for i, mine := range []gap{g, other} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(l.Context()), patience)
				defer cancel()
				_, _, errs[i] = carry(ctx, mine, plans[i], Plan{})
			})
		}
		wg.Wait()
		for _, err := range errs {
			l.retryable(err)
			if topology.ClassOf(err) == topology.Conflict {
				yielded++
			}
		}
		l.resume(g)
		l.drop(other.Clone)
		l.done(g, "two at once")
	}
	if yielded == 0 {
		t.Error("they never met")
	}
}
