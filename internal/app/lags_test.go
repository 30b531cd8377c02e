package app

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"healer/topology"
)

// meshAt is n1 with its log written up to flushed, and n2, which has applied it up to
// progress and confirmed that to n1's slot.
func meshAt(flushed, progress, confirmed topology.LSN) topology.Observation {
	n1 := topology.NodeState{
		Name: "n1", Reachable: flushed > 0, Identity: topology.Identity{SystemID: 7, Timeline: 1, StartedAt: 1}, Flushed: flushed,
		Slots: []topology.Slot{{Kind: topology.SlotMesh, To: "n2", Confirmed: confirmed}},
	}
	n2 := topology.NodeState{Name: "n2", Reachable: true, Subscriptions: []topology.Subscription{{Name: "s", Provider: "n1", Progress: progress}}}
	return topology.Observation{Nodes: []topology.NodeState{n1, n2}}
}

// TestLags follows a node that falls behind, catches up, and loses its origin.
func TestLags(t *testing.T) {
	t.Parallel()
	l, begin := newLags(), time.Now()
	if _, known := l.of("n1", "n2"); known {
		t.Error("a lag is known before anything was read")
	}
	fenced := func(o topology.Observation) topology.Observation {
		o.Nodes[1].Fences = []topology.Fence{{Origin: "n1"}}
		return o
	}
	other := meshAt(5000, 0, 5000)
	other.Nodes[0].Identity.SystemID = 8
	for i, c := range []struct {
		name  string
		after time.Duration
		obs   topology.Observation
		known bool
		want  time.Duration
	}{
		{"no position of the node yet", 0, meshAt(100, 0, 0), false, 0},
		{"it has all", 1 * time.Second, meshAt(100, 100, 0), true, 0},
		{"the log grew since it was last looked at", 2 * time.Second, meshAt(110, 100, 0), true, 0},
		{"what is confirmed counts where nothing is replicated", 3 * time.Second, meshAt(120, 100, 110), true, 0},
		{"it stands still", 5 * time.Second, meshAt(130, 105, 110), true, 2 * time.Second},
		{"and still", 9 * time.Second, meshAt(140, 105, 110), true, 6 * time.Second},
		{"it comes to where the origin was at 5 s", 10 * time.Second, meshAt(150, 130, 110), true, 1 * time.Second},
		{"the origin is gone: as of its last reading", 60 * time.Second, meshAt(0, 130, 0), true, 1 * time.Second},
		{"what is carried counts", 61 * time.Second, fenced(meshAt(0, 140, 0)), true, 0},
		{"one that is fenced off is not read", 62 * time.Second, fenced(meshAt(900, 140, 900)), true, 0},
		{"taken back: since its log went on", 70 * time.Second, meshAt(200, 140, 140), true, 60 * time.Second},
		{"another server: what counts is its own log", 80 * time.Second, other, true, 0},
	} {
		l.see(c.obs, begin.Add(c.after))
		if got, known := l.of("n1", "n2"); got != c.want || known != c.known {
			t.Errorf("%d, %s: %s, known %t; want %s, %t", i, c.name, got, known, c.want, c.known)
		}
	}
}

// TestLagsOfADay compares what is remembered of a long time with all of it: a lag is too
// short by a second and a twentieth at most, and never too long.
func TestLagsOfADay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, begin := newLags(), time.Now()
		seconds := rapid.IntRange(1, 24*3600).Draw(t, "seconds")
		stands := rapid.IntRange(0, seconds).Draw(t, "stands still after")
		step := 1 + seconds/4000 // an agent that is busy looks less often
		for at := 0; at <= seconds; at += step {
			l.see(meshAt(topology.LSN(1000+at), topology.LSN(1000+min(at, stands)), 1), begin.Add(time.Duration(at)*time.Second)) //nolint:gosec // small
		}
		last := seconds / step * step
		next := (stands/step + 1) * step // the first end that it has not
		want := time.Duration(max(0, last-next)) * time.Second
		got, known := l.of("n1", "n2")
		if short := want - got; !known || short < 0 || short > want/20+time.Duration(step)*time.Second {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
