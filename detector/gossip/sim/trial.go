package sim

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// System is what is tried.
type System string

// The systems.
const (
	// Healer is gossip, SQL evidence and the majority together.
	Healer System = "healer"
	// Tuned is memberlist alone with the intervals of Healer's gossip, LAN
	// with its own defaults for a local network.
	Tuned System = "memberlist, same intervals"
	LAN   System = "memberlist, LAN defaults"
)

// Setup is one cluster to be tried.
type Setup struct {
	System  System
	Members int
	// Loss is the share of packets that get lost, Latency what each takes at
	// least; it takes at most twice that.
	Loss    float64
	Latency time.Duration
	Seed    uint64
	// Kills and Crashes are how many members end, one after the other, by a
	// kill of their processes and by the end of their host.
	Kills, Crashes int
	// Pauses are for how long members stop and go on, one after the other.
	Pauses []time.Duration
	// Quiet is how long the undisturbed cluster is watched, Settle how long
	// everything may calm down after each disturbance.
	Quiet, Settle time.Duration
}

// Outcome is what was seen.
type Outcome struct {
	// KillFirst and CrashFirst are the times until the first survivor noticed,
	// KillAll and CrashAll until each of them did.
	KillFirst, KillAll, CrashFirst, CrashAll []time.Duration
	// Missed counts survivors that never noticed an end.
	Missed int
	// PausesTaken counts the pauses after which somebody gave up the paused
	// member, Pauses all; by length.
	PausesTaken, Pauses map[time.Duration]int
	// Wrong counts how often anybody gave up a member that lived and was not
	// paused.
	Wrong int
	// Quiet is how long the undisturbed cluster was watched, summed over its
	// members; Sent is what they sent meanwhile.
	Quiet time.Duration
	Sent  Sent
}

// Run tries one cluster. It must be called within a bubble of testing/synctest, and
// leaves nothing in it.
func Run(ctx context.Context, s Setup) (Outcome, error) {
	network := NewNetwork(s.Seed, s.Loss)
	network.Latency = s.Latency
	c, err := start(ctx, s, network)
	if c != nil {
		defer c.stop()
	}
	if err != nil {
		return Outcome{}, err
	}
	if err := c.gather(ctx); err != nil {
		return Outcome{}, err
	}
	t := &trial{Setup: s, c: c, alive: Names(s.Members)}
	t.out.PausesTaken, t.out.Pauses = map[time.Duration]int{}, map[time.Duration]int{}
	t.quiet()
	if err := t.pauses(ctx); err != nil {
		return t.out, err
	}
	t.ends()
	return t.out, nil
}

func start(ctx context.Context, s Setup, network *Network) (cluster, error) {
	switch s.System {
	case Healer:
		return newHealers(ctx, s.Members, network)
	case Tuned:
		return newPlains(s.Members, network, tuned)
	case LAN:
		return newPlains(s.Members, network, lan)
	}
	return nil, fmt.Errorf("there is no system %q", s.System)
}

// trial is a run in progress.
type trial struct {
	Setup
	c     cluster
	alive []string
	out   Outcome
}

// patience is how long the end of a member is waited for.
const patience = 3 * time.Minute

func (t *trial) quiet() {
	pass(t.Settle)
	t.wrong(t.c.sights(), "")
	before := t.c.sent()
	pass(t.Quiet)
	after := t.c.sent()
	t.out.Quiet += t.Quiet * time.Duration(len(t.alive))
	t.out.Sent.Messages += after.Messages - before.Messages
	t.out.Sent.Bytes += after.Bytes - before.Bytes
	t.wrong(t.c.sights(), "")
}

// wrong counts the sights of members that live, except one.
func (t *trial) wrong(sights []Sight, except string) {
	for _, s := range sights {
		if slices.Contains(t.alive, s.Subject) && s.Subject != except {
			t.out.Wrong++
		}
	}
}

// pauses stops members one after the other. That a paused one is given up is counted
// apart: its agent is gone for that time, though its server is not.
func (t *trial) pauses(ctx context.Context) error {
	for i, length := range t.Pauses {
		name := t.alive[i%len(t.alive)]
		t.c.freeze(name, true)
		pass(length)
		t.c.freeze(name, false)
		pass(t.Settle)
		sights := t.c.sights()
		t.out.Pauses[length]++
		if slices.ContainsFunc(sights, func(s Sight) bool { return s.Subject == name }) {
			t.out.PausesTaken[length]++
		}
		t.wrong(sights, name)
		if err := t.c.gather(ctx); err != nil {
			return err
		}
		t.wrong(t.c.sights(), name)
	}
	return nil
}

// ends makes members end, the last first.
func (t *trial) ends() {
	for i := range t.Kills + t.Crashes {
		name := t.alive[len(t.alive)-1]
		t.alive = t.alive[:len(t.alive)-1]
		// Between the ticks of whoever probes it.
		pass(time.Duration(17*(i+1)+31*int(t.Seed%23)) * time.Millisecond)
		began := time.Now()
		if i < t.Kills {
			t.c.kill(name)
			t.noticed(name, began, &t.out.KillFirst, &t.out.KillAll)
		} else {
			t.c.crash(name)
			t.noticed(name, began, &t.out.CrashFirst, &t.out.CrashAll)
		}
		pass(t.Settle)
		t.wrong(t.c.sights(), "")
	}
}

// noticed waits until every survivor has given the member up.
func (t *trial) noticed(name string, began time.Time, first, all *[]time.Duration) {
	saw := map[string]time.Duration{}
	for time.Since(began) < patience && len(saw) < len(t.alive) {
		pass(50 * time.Millisecond)
		sights := t.c.sights()
		t.wrong(sights, "")
		for _, s := range sights {
			if _, had := saw[s.Observer]; s.Subject == name && !had {
				saw[s.Observer] = s.At.Sub(began)
			}
		}
	}
	var times []time.Duration
	for _, d := range saw {
		times = append(times, d)
	}
	t.out.Missed += len(t.alive) - len(times)
	if len(times) > 0 {
		*first = append(*first, slices.Min(times))
		*all = append(*all, times...)
	}
}

func split(addr string) (string, int) {
	host, port, _ := net.SplitHostPort(addr) // the addresses are ours
	n, _ := strconv.Atoi(port)
	return host, n
}
