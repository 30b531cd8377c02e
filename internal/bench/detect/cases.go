package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"healer/internal/localnet"
)

// scenario is one row of the table.
type scenario struct {
	name string
	// text and want are the row's first columns in the documentation.
	text, want string
	run        func(ctx context.Context, o options, r *result) error
}

func cases() []scenario {
	all := []scenario{
		{"postmaster_kill", "postmaster SIGKILL", "p50 <= 150 ms, p99 <= 500 ms", kills(false)},
		{"postmaster_and_agent_kill", "postmaster and agent SIGKILL", "p50 <= 150 ms, p99 <= 500 ms", kills(true)},
		{"host_vanishes", "host vanishes (packets dropped, no reset)", "p50 <= 1.5 s, p99 <= 2.5 s", vanish},
		{"postgres_frozen", "PostgreSQL frozen (SIGSTOP of all its processes)", "p50 <= 2 s, p99 <= 3 s", frozenServer},
	}
	for _, s := range []int{1, 2, 5, 10, 30} {
		all = append(all, scenario{
			fmt.Sprintf("agent_frozen_%ds", s), fmt.Sprintf("an agent frozen %d s (SIGSTOP)", s), "0 wrong",
			frozenAgent(time.Duration(s) * time.Second),
		})
	}
	faults := func(name, text string, f func(localnet.Packet) localnet.Fate) scenario {
		return scenario{name, text, "0 wrong", faulty(f)}
	}
	return append(all,
		scenario{"overload_4x", "all cores loaded 4 times over", "0 wrong", overload},
		faults("one_way_loss", "one-way link loss, n1 to n3", func(p localnet.Packet) localnet.Fate {
			if p.From == "n1" && p.To == "n3" {
				return localnet.Fate{Lost: 1}
			}
			return localnet.Fate{}
		}),
		faults("udp_loss_30", "30 % UDP loss", func(p localnet.Packet) localnet.Fate {
			if p.UDP {
				return localnet.Fate{Lost: 0.3}
			}
			return localnet.Fate{}
		}),
		faults("latency_300ms", "300 ms latency each way", func(localnet.Packet) localnet.Fate {
			return localnet.Fate{Delay: 300 * time.Millisecond}
		}),
	)
}

// rounds is how often a fault must be made when each time is a trial for several.
func rounds(trials, each int) int { return (trials + each - 1) / each }

// pause waits a random time, so that a fault falls anywhere between two probes.
func pause(ctx context.Context, least time.Duration) error {
	select {
	case <-time.After(least + rand.N(400*time.Millisecond)): //nolint:gosec // no secret
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// in runs a trial in a lab over and over.
func in(ctx context.Context, o options, clusters, groups, trials int, virtual bool, trial func(l *lab, victim string) error) (err error) {
	l, err := newLab(ctx, o, clusters, groups, virtual)
	if err != nil {
		return err
	}
	defer func() {
		if e := l.close(); err == nil {
			err = e
		}
	}()
	n := rounds(trials, max(clusters, groups))
	for i := range n {
		if err := l.settled(ctx); err != nil {
			return fmt.Errorf("before trial %d: %w", i+1, err)
		}
		if err := pause(ctx, 600*time.Millisecond); err != nil {
			return err
		}
		l.reset()
		if err := trial(l, l.nodes[i%len(l.nodes)]); err != nil {
			return fmt.Errorf("trial %d: %w", i+1, err)
		}
		if (i+1)%max(n/5, 1) == 0 {
			fmt.Fprintf(o.log, "  %d of %d rounds\n", i+1, n)
		}
	}
	return nil
}

// kills kills a postmaster, or it and its agent at the same instant.
func kills(agent bool) func(context.Context, options, *result) error {
	return func(ctx context.Context, o options, r *result) error {
		err := in(ctx, o, 2, 0, o.trials, false, func(l *lab, victim string) error {
			begin, watching := time.Now(), l.nodes
			if agent {
				for _, a := range l.clusters {
					a.procs[victim].signal(9)
				}
				watching = others(l.nodes, victim)
			}
			if err := l.mesh.Node(victim).KillPostmaster(ctx); err != nil {
				return err
			}
			if err := l.seen(ctx, r, victim, watching, begin); err != nil {
				return err
			}
			l.tally(r, victim, begin)
			if err := l.mesh.Kill(ctx, victim); err != nil {
				return err
			}
			if err := l.mesh.Node(victim).Start(ctx); err != nil {
				return err
			}
			if !agent {
				return nil
			}
			for _, a := range l.clusters {
				a.procs[victim].kill()
				if err := a.start(victim); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || !agent {
			return err
		}
		return in(ctx, o, 0, 12, o.trials, false, func(l *lab, victim string) error {
			begin := time.Now()
			l.members.procs[victim].kill()
			ctx, cancel := context.WithTimeout(ctx, seeLimit)
			defer cancel()
			if err := l.members.await(ctx, r, victim, begin); err != nil {
				return err
			}
			l.members.tally(r, victim, begin)
			return l.members.start(victim)
		})
	}
}

// vanish drops every packet from and to a host.
func vanish(ctx context.Context, o options, r *result) error {
	gone := func(l *lab, victim string) time.Time {
		begin := time.Now()
		l.net.Rule(func(p localnet.Packet) localnet.Fate {
			if p.From != p.To && (p.From == victim || p.To == victim) {
				return localnet.Fate{Lost: 1}
			}
			return localnet.Fate{}
		})
		return begin
	}
	err := in(ctx, o, o.clusters, 0, o.trials, true, func(l *lab, victim string) error {
		begin := gone(l, victim)
		defer l.net.Heal()
		if err := l.seen(ctx, r, victim, others(l.nodes, victim), begin); err != nil {
			return err
		}
		l.tally(r, victim, begin)
		return nil
	})
	if err != nil {
		return err
	}
	return in(ctx, o, 0, 12, o.trials, true, func(l *lab, victim string) error {
		begin := gone(l, victim)
		defer l.net.Heal()
		ctx, cancel := context.WithTimeout(ctx, seeLimit)
		defer cancel()
		return l.members.await(ctx, r, victim, begin)
	})
}

// frozenServer stops every process of a server.
func frozenServer(ctx context.Context, o options, r *result) error {
	return in(ctx, o, o.clusters, 0, o.trials, false, func(l *lab, victim string) error {
		begin := time.Now()
		if err := l.mesh.Node(victim).Freeze(ctx); err != nil {
			return err
		}
		defer l.mesh.Node(victim).Thaw()
		if err := l.seen(ctx, r, victim, l.nodes, begin); err != nil {
			return err
		}
		l.tally(r, victim, begin)
		return nil
	})
}

// settleAfter is how long everybody is watched after a fault that must not be taken
// for a death: whoever wakes must not blame the others either.
const settleAfter = 1500 * time.Millisecond

// frozenAgent stops an agent for a while; its server goes on.
func frozenAgent(d time.Duration) func(context.Context, options, *result) error {
	return func(ctx context.Context, o options, r *result) error {
		return in(ctx, o, 12, 12, o.trials, false, func(l *lab, victim string) error {
			begin := time.Now()
			for _, a := range l.clusters {
				a.procs[victim].freeze()
			}
			l.members.procs[victim].freeze()
			err := pause(ctx, d)
			for _, a := range l.clusters {
				a.procs[victim].thaw()
			}
			l.members.procs[victim].thaw()
			if err == nil {
				err = pause(ctx, settleAfter)
			}
			l.tally(r, "", begin)
			l.members.tally(r, "", begin)
			return err
		})
	}
}

// faultFor is how long a network fault lasts.
const faultFor = 3 * time.Second

// faulty makes a network fault under which everybody lives.
func faulty(f func(localnet.Packet) localnet.Fate) func(context.Context, options, *result) error {
	return func(ctx context.Context, o options, r *result) error {
		return in(ctx, o, o.clusters, o.clusters, o.trials, true, func(l *lab, _ string) error {
			begin := time.Now()
			l.net.Rule(f)
			err := pause(ctx, faultFor)
			l.net.Heal()
			if err == nil {
				err = pause(ctx, settleAfter)
			}
			l.tally(r, "", begin)
			l.members.tally(r, "", begin)
			return err
		})
	}
}

// overload keeps all cores busy four times over, for as long as o says, in a hundred
// slices.
func overload(ctx context.Context, o options, r *result) error {
	l, err := newLab(ctx, o, 1, 1, false)
	if err != nil {
		return err
	}
	defer func() {
		if e := l.close(); err == nil {
			err = e
		}
	}()
	stop, err := burn(o)
	if err != nil {
		return err
	}
	defer stop()
	for i := range o.trials {
		begin := time.Now()
		l.reset()
		select {
		case <-time.After(o.load / time.Duration(o.trials)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		l.tally(r, "", begin)
		l.members.tally(r, "", begin)
		if (i+1)%max(o.trials/5, 1) == 0 {
			fmt.Fprintf(o.log, "  %d of %d slices\n", i+1, o.trials)
		}
	}
	return nil
}
