package keeper

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

type lsns = map[string]topology.LSN

// observed is a history after the given samples, each an interval apart.
func observed(samples ...Sample) *History {
	h := NewHistory(16)
	for _, s := range samples {
		h.Observe(s)
	}
	return h
}

func TestDecide(t *testing.T) {
	h := observed(
		Sample{Flushed: 100, Progress: lsns{"n1": 10, "n3": 5}},
		Sample{Flushed: 200, Progress: lsns{"n1": 20, "n3": 5}},
		Sample{Flushed: 300, Progress: lsns{"n1": 30, "n3": 7}},
	) // points: 100 {n1:20 n3:5}, 200 {n1:30 n3:7}
	kept := topology.Slot{Name: "r", Kind: topology.SlotRecovery, To: "n3", Confirmed: 90}
	seed := topology.Slot{Name: "s", Kind: topology.SlotSeed, To: "n3", Confirmed: 150}
	with := func(s topology.Slot, f func(*topology.Slot)) topology.Slot { f(&s); return s }
	n3 := func(p lsns) PeerView { return PeerView{Name: "n3", Reachable: true, Progress: p} }
	all := n3(lsns{"n1": 30})

	for name, c := range map[string]struct {
		h     *History
		peer  PeerView
		slots []topology.Slot
		want  Action
	}{
		"level with us": {h, all, []topology.Slot{kept}, Action{Kind: Advance, Slot: "r", To: 200}},
		"behind, an older point holds": {
			h, n3(lsns{"n1": 29}),
			[]topology.Slot{kept},
			Action{Kind: Advance, Slot: "r", To: 100, Why: "n3 has n1 only up to 0/1D of 0/1E"},
		},
		"behind every point": {
			h, n3(lsns{"n1": 19}),
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "n3 has n1 only up to 0/13 of 0/1E"},
		},
		"no subscription": {
			h, n3(lsns{}),
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "n3 has no subscription to n1, whose transactions up to 0/1E are in the log here"},
		},
		"unreachable": {
			h,
			PeerView{Name: "n3", Problem: "timeout", Progress: lsns{"n1": 30}},
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "cannot read n3: timeout"},
		},
		"unreachable, no slot": {
			h,
			PeerView{Name: "n3", Problem: "timeout"},
			nil,
			Action{Kind: Hold, Why: "cannot read n3: timeout"},
		},
		"open gap": {
			h,
			PeerView{Name: "n3", Reachable: true, Progress: lsns{"n1": 30}, Gaps: []string{"n1"}},
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "n3 has an open gap of n1"},
		},
		"never backwards": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.Confirmed = 201 })},
			Action{Kind: Hold},
		},
		"no useless move": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.Confirmed = 200 })},
			Action{Kind: Hold},
		},
		"in use": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.Active = true })},
			Action{Kind: Hold, Why: "the slot is in use"},
		},
		"being copied": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.Confirmed = 0 })},
			Action{Kind: Hold, Why: "the slot is being made"},
		},
		"missing": {h, all, nil, Action{Kind: Create, Why: "no recovery slot yet"}},
		"missing, but this node was not read": {
			NewHistory(4), all, nil, Action{Kind: Hold, Why: "this node cannot be read"},
		},
		"lost": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.WALStatus = "lost" })},
			Action{Kind: Create, Why: "no recovery slot yet"},
		},
		"another's slot is not ours": {
			h, all,
			[]topology.Slot{with(kept, func(s *topology.Slot) { s.To = "n4" })},
			Action{Kind: Create, Why: "no recovery slot yet"},
		},
		"seed covered": {h, all, []topology.Slot{seed}, Action{Kind: Promote}},
		"seed covered only before it": {
			h, n3(lsns{"n1": 20}),
			[]topology.Slot{seed},
			Action{Kind: Hold, Why: "n3 has n1 only up to 0/14 of 0/1E"},
		},
		"seed younger than the samples": {
			h, all,
			[]topology.Slot{with(seed, func(s *topology.Slot) { s.Confirmed = 250 })},
			Action{Kind: Hold, Why: "no sample since the slot was made"},
		},
		"seed replaces a lost slot": {
			h, all,
			[]topology.Slot{seed, with(kept, func(s *topology.Slot) { s.WALStatus = "lost" })},
			Action{Kind: Promote},
		},
		"half promoted": {
			h,
			PeerView{Name: "n3"},
			[]topology.Slot{seed, kept},
			Action{Kind: Promote, Why: "a promotion was interrupted"},
		},
		"one sample is none": {
			observed(Sample{Flushed: 100}), all,
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "not enough samples of this node yet"},
		},
		"an unknown provider makes no point": {
			observed(Sample{Flushed: 100}, Sample{Flushed: 200, Unknown: []string{"sub"}}), all,
			[]topology.Slot{kept},
			Action{Kind: Hold, Why: "not enough samples of this node yet"},
		},
		"nothing of an origin asks for nothing": {
			observed(Sample{Flushed: 100}, Sample{Flushed: 200, Progress: lsns{"n1": 0}}),
			n3(nil),
			[]topology.Slot{kept},
			Action{Kind: Advance, Slot: "r", To: 100},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Peer = "n3"
			if diff := cmp.Diff(c.want, Decide(c.h, c.peer, c.slots)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	id := func(sys, start uint64) topology.Identity {
		return topology.Identity{SystemID: sys, Timeline: 1, StartedAt: int64(start)} //nolint:gosec // small
	}
	for name, c := range map[string]struct {
		samples []Sample
		want    []Point
	}{
		"pairs": {
			[]Sample{{Flushed: 1, Progress: lsns{"a": 1}}, {Flushed: 2, Progress: lsns{"a": 2}}, {Flushed: 3, Progress: lsns{"a": 2}}},
			[]Point{{1, lsns{"a": 2}}, {2, lsns{"a": 2}}},
		},
		"idle adds nothing": {
			[]Sample{{Flushed: 1}, {Flushed: 1}, {Flushed: 1}},
			[]Point{{1, lsns{}}},
		},
		"a dropped subscription still counts": {
			[]Sample{{Flushed: 1, Progress: lsns{"a": 5}}, {Flushed: 2, Progress: lsns{"a": 6}}, {Flushed: 3}, {Flushed: 4, Progress: lsns{"a": 1}}},
			[]Point{{1, lsns{"a": 6}}, {2, lsns{"a": 6}}, {3, lsns{"a": 6}}},
		},
		"a restart begins anew, demands stay": {
			[]Sample{
				{Identity: id(1, 1), Flushed: 1, Progress: lsns{"a": 5}},
				{Identity: id(1, 2), Flushed: 2, Progress: lsns{"a": 4}},
				{Identity: id(1, 2), Flushed: 3, Progress: lsns{"a": 4}},
			},
			[]Point{{2, lsns{"a": 5}}},
		},
		"another server begins from nothing": {
			[]Sample{
				{Identity: id(1, 1), Flushed: 1, Progress: lsns{"a": 5}},
				{Identity: id(2, 1), Flushed: 2, Progress: lsns{"a": 1}},
				{Identity: id(2, 1), Flushed: 3, Progress: lsns{"a": 1}},
			},
			[]Point{{2, lsns{"a": 1}}},
		},
		"a log that shrank begins anew": {
			[]Sample{{Flushed: 9}, {Flushed: 10}, {Flushed: 5}, {Flushed: 6}},
			[]Point{{5, lsns{}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, observed(c.samples...).points); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	h := observed(Sample{Flushed: 1}, Sample{Flushed: 2})
	h.Interrupt()
	h.Observe(Sample{Flushed: 3})
	if n := len(h.points); n != 1 {
		t.Errorf("%d points: a failed reading must not be bridged", n)
	}
}

func TestNewest(t *testing.T) {
	h := NewHistory(8)
	for i := range topology.LSN(1000) {
		h.Observe(Sample{Flushed: 10 * i, Progress: lsns{"a": i}})
	}
	if n := len(h.points); n > 9 {
		t.Fatalf("%d points are kept, want about 8", n)
	}
	for p := range topology.LSN(1000) {
		at, ok := h.Newest("a", p)
		// The point made from sample i is at 10*(i-1) and speaks of a up to i.
		if !ok != (p == 0) || (ok && at > 10*(p-1)) {
			t.Fatalf("with a up to %d the newest is %d, %v", p, at, ok)
		}
	}
	if at, ok := h.Newest("a", 999); !ok || at != 9980 {
		t.Errorf("level with us the newest is %d, %v; want the last point", at, ok)
	}
	if _, ok := h.Newest("b", 999); ok {
		t.Error("nothing is known of b")
	}
}
