package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"healer/chaos/fault"
)

// struck is a fault that is made once. During holds while it is in force, after when it
// is healed: each is asked beside the fault's own proof, and of another source.
type struck struct {
	fault.Fault

	during, after func(context.Context) error
}

// gentle are the faults that cost no server.
func (d *drill) gentle() []struck {
	link := func(kind fault.Kind, f fault.Fault) struck {
		f.Kind, f.Node, f.Peer = kind, "n1", "n2"
		if f.Link == "" {
			f.Link = fault.Replication
		}
		alive := d.quick(f, 80*time.Millisecond)
		return struck{f, not(alive), alive}
	}
	offset := 3 * time.Hour
	clock := func(ctx context.Context) error {
		a, err := d.Agent("n3")
		if err != nil {
			return err
		}
		at, err := a.Clock(ctx)
		if err == nil && time.Until(at) < offset/2 {
			err = fmt.Errorf("it is %s", at)
		}
		return err
	}
	air := fault.Fault{Link: fault.NATS, Node: "n3", Peer: "n1"}
	recovery := `select count(*)::text from pg_replication_slots where slot_name = '` + d.Slot("n3", "n1", true) + `'`
	enabled := `select subenabled::text from pg_subscription where subname = '` + d.Subscription("n3", "n1") + `'`
	column := `select count(*)::text from pg_attribute where attrelid = 'notes'::regclass and attname like 'chaos\_%'`
	// A link that is reset lives on; that its session is another one shows.
	sender := `select coalesce(string_agg(pid::text, ' '), '') from pg_stat_replication where application_name = '` + d.Subscription("n2", "n1") + `'`
	reset := struck{Fault: fault.Fault{Kind: fault.LinkReset, Node: "n1", Peer: "n2", Link: fault.Replication}}
	before, err := d.one(d.Context(), "n1", sender)
	if err != nil {
		d.Fatal(err)
	}
	reset.during = func(ctx context.Context) error {
		now, err := d.one(ctx, "n1", sender)
		if err == nil && now == before {
			err = errors.New("its session lives on")
		}
		return err
	}
	reset.after = d.answers("n1")
	return []struck{
		reset,
		link(fault.LinkCut, fault.Fault{Way: fault.ToPeer}),
		link(fault.LinkCut, fault.Fault{Link: fault.Agents}),
		link(fault.LinkSlow, fault.Fault{Delay: 100 * time.Millisecond}),
		link(fault.LinkNarrow, fault.Fault{Rate: 40}),
		link(fault.LinkHalfOpen, fault.Fault{}),
		link(fault.LinkRefuse, fault.Fault{Link: fault.SQL}),
		{fault.Fault{Kind: fault.ClockStep, Node: "n3", Offset: offset}, clock, not(clock)},
		{fault.Fault{Kind: fault.NATSServerLoss, Node: "n3"}, not(d.quick(air, 80*time.Millisecond)), d.quick(air, time.Second)},
		{fault.Fault{Kind: fault.NATSGone}, not(d.quick(air, 80*time.Millisecond)), d.quick(air, time.Second)},
		{fault.Fault{Kind: fault.SubscriptionDisable, Node: "n3", Peer: "n1"}, d.says("n3", enabled, "false"), d.says("n3", enabled, "true")},
		{fault.Fault{Kind: fault.DDL}, d.says("n2", column, "1"), d.says("n2", column, "1")},
		// The keeper makes the slot anew as soon as it misses it.
		{fault.Fault{Kind: fault.SlotDrop, Node: "n3", Peer: "n1", Slot: "recovery"}, d.answers("n3"), d.says("n3", recovery, "1")},
		{fault.Fault{Kind: fault.BackendsTerminate, Node: "n3"}, d.ended, d.answers("n3")},
		{fault.Fault{Kind: fault.NATSLeaderLoss}, not(d.all(d.agent)), d.all(d.agent)},
		{fault.Fault{Kind: fault.AgentFreeze, Node: "n3"}, stopped(d.AgentOf("n3").PID), d.agent("n3")},
		{fault.Fault{Kind: fault.AgentStop, Node: "n3"}, not(d.agent("n3")), d.agent("n3")},
		{fault.Fault{Kind: fault.AgentKill, Node: "n3"}, not(d.agent("n3")), d.agent("n3")},
	}
}

// all is nil when a condition holds for every node.
func (d *drill) all(cond func(node string) func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, n := range d.Names() {
			if err := cond(n)(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// rough are the faults that take a server away.
func (d *drill) rough(node string) []struck {
	up := d.answers(node)
	var all []struck
	for _, f := range []fault.Fault{
		{Kind: fault.ServerFreeze},
		{Kind: fault.ServerKill},
		{Kind: fault.PostmasterKill},
		{Kind: fault.NodeKill},
		{Kind: fault.ServerStop, Mode: "immediate"},
		{Kind: fault.RecoveryCrash},
	} {
		f.Node = node
		all = append(all, struck{f, not(up), up})
	}
	frozen := func(ctx context.Context) error {
		_, text, _ := strings.Cut(d.made.Proof, "process ")
		pid, err := strconv.Atoi(strings.Fields(text + " ?")[0])
		if err != nil {
			return err
		}
		return stopped(func() int { return pid })(ctx)
	}
	full := func(context.Context) error {
		disk, err := d.Disk(node)
		if err != nil {
			return err
		}
		left, err := disk.Left()
		if err == nil && left > 64<<10 {
			err = fmt.Errorf("%d bytes are left", left)
		}
		return err
	}
	return append(all,
		struck{fault.Fault{Kind: fault.ProcessKill, Node: node, Process: fault.Backend}, d.ended, up},
		struck{fault.Fault{Kind: fault.ProcessFreeze, Node: node, Process: fault.Backend}, frozen, d.lives},
		struck{fault.Fault{Kind: fault.RestartStorm, Node: node, Times: 2}, up, up},
		struck{fault.Fault{Kind: fault.DiskFull, Node: node}, full, up})
}
