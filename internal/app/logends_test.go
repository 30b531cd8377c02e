package app

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/topology"
)

func end(system uint64, timeline uint32, life int64, flushed topology.LSN, at int64) topology.LogEnd {
	return topology.LogEnd{
		Identity: topology.Identity{SystemID: system, Timeline: timeline, StartedAt: life}, Flushed: flushed, At: time.Unix(at, 0),
	}
}

// What was last heard of a node's log stays, until a reading shows that another has
// taken its place.
func TestLogEnds(t *testing.T) {
	t.Parallel()
	held := end(7, 1, 1, 100, 10)
	for name, c := range map[string]struct{ heard, want topology.LogEnd }{
		"further":                                 {end(7, 1, 1, 120, 9), end(7, 1, 1, 120, 9)},
		"as far, later":                           {end(7, 1, 1, 100, 11), end(7, 1, 1, 100, 11)},
		"not as far, overtaken on its way":        {end(7, 1, 1, 90, 11), held},
		"the server went on after a restart":      {end(7, 1, 2, 120, 11), end(7, 1, 2, 120, 11)},
		"it was restored from a backup":           {end(7, 1, 2, 90, 11), held},
		"an earlier life that others remember":    {end(7, 1, 0, 120, 9), held},
		"another server":                          {end(8, 1, 2, 900, 11), held},
		"promoted elsewhere, it left the old log": {end(7, 2, 2, 900, 11), held},
		"nothing":                    {topology.LogEnd{}, held},
		"a position of nobody's log": {topology.LogEnd{Flushed: 120, At: time.Unix(11, 0)}, held},
	} {
		l := newLogEnds(map[string]topology.LogEnd{"n1": held})
		l.Hear("n1", c.heard)
		if d := cmp.Diff(c.want, l.of("n1")); d != "" {
			t.Errorf("%s (-want +held):\n%s", name, d)
		}
	}
	for name, n := range map[string]topology.NodeState{
		"another server is part of the mesh": {Name: "n1", Identity: topology.Identity{SystemID: 8, Timeline: 1, StartedAt: 3}, Flushed: 5},
		"so is one restored from a backup":   {Name: "n1", Identity: topology.Identity{SystemID: 7, Timeline: 1, StartedAt: 3}, Flushed: 5},
	} {
		l := newLogEnds(map[string]topology.LogEnd{"n1": held})
		l.read(n, time.Unix(20, 0))
		l.Hear("n1", held) // somebody has not read it yet
		if got := l.of("n1"); got.Identity != n.Identity || got.Flushed != 5 {
			t.Errorf("%s: held is %+v", name, got)
		}
	}
}

// Whatever the order in which the same is heard, all agents hold the furthest; and
// what is held never goes back.
func TestLogEndsInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, furthest := newLogEnds(nil), topology.LSN(0)
		for _, lsn := range rapid.SliceOf(rapid.Uint64Range(1, 50)).Draw(t, "heard") {
			furthest = max(furthest, topology.LSN(lsn))
			l.Hear("n1", end(7, 1, 1, topology.LSN(lsn), rapid.Int64Range(0, 9).Draw(t, "at")))
			if got := l.of("n1").Flushed; got != furthest {
				t.Fatalf("held is %v, heard of was %v", got, furthest)
			}
		}
	})
}

// What was heard outlives the agent, and is no word of its own about its node.
func TestLogEndsOutliveTheAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "memory.json")
	m, err := openMemory(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.ends.Hear("n1", end(7, 1, 1, 100, 10))
	m.ends.readOwn("n2", topology.NodeState{Reachable: true, Identity: topology.Identity{SystemID: 9}, Flushed: 50}, time.Unix(10, 0))
	m.save()
	if m, err = openMemory(path, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if got := m.node("n1").End; got.Flushed != 100 || got.Identity.SystemID != 7 || !got.At.Equal(time.Unix(10, 0)) {
		t.Errorf("remembered: %+v", got)
	}
	if own, ok := m.ends.Own(); ok || m.ends.of("n2").Flushed != 50 {
		t.Errorf("own, before it is read: %+v", own)
	}
	m.ends.readOwn("n2", topology.NodeState{Reachable: true, InRecovery: true, Flushed: 70}, time.Unix(11, 0))
	if own, ok := m.ends.Own(); ok {
		t.Errorf("a standby's position was taken for its own: %+v", own)
	}
}
