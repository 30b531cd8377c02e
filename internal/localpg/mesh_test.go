package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// journal has no key: a transaction that is applied twice, or that runs in
// circles, shows as rows too many.
const journal = `create table journal (author text not null, what text not null)`

func write(t *testing.T, m *Mesh, node, what string) {
	t.Helper()
	must(t, m.Exec(limit(t), node, `insert into journal values ($1, $2)`, node, what))
}

// read lists what a node has, sorted.
func read(t *testing.T, m *Mesh, node string) string {
	t.Helper()
	rows, err := Column[string](limit(t), m.Node(node), `select author || ':' || what from journal order by 1`)
	must(t, err)
	return strings.Join(rows, " ")
}

func wantEverywhere(t *testing.T, m *Mesh, want string) {
	t.Helper()
	must(t, m.WaitCaughtUp(limit(t)))
	for _, node := range m.Names() {
		if got := read(t, m, node); got != want {
			t.Errorf("%s has %q, want %q", node, got, want)
		}
	}
}

func TestMeshReplicatesBothWaysOnce(t *testing.T) {
	for _, major := range majors() {
		for _, links := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d links=%v", major, links), func(t *testing.T) {
				m := startMesh(t, Options{Major: major, Links: links, Schema: []string{journal}})
				for _, node := range m.Names() {
					write(t, m, node, "a")
				}
				wantEverywhere(t, m, "n1:a n2:a n3:a")
				// What would run in circles has had all it needs to come back: every
				// node has seen all that the others had when they had seen all.
				wantEverywhere(t, m, "n1:a n2:a n3:a")
			})
		}
	}
}

func TestMeshOfOptions(t *testing.T) {
	m := startMesh(t, Options{
		Names: []string{"east", "west"}, Database: "shop", Tables: []string{"journal"},
		Schema: []string{journal, `create table private (id int)`},
		Conf:   map[string]string{"work_mem": "3MB"},
	})
	must(t, m.Exec(limit(t), "east", `insert into private values (1)`))
	write(t, m, "east", "a")
	wantEverywhere(t, m, "east:a")
	if n := ask[int](t, m.Node("west"), `select count(*) from private`); n != 0 {
		t.Error("a table that is not published was replicated")
	}
	if got := ask[string](t, m.Node("west"), `select current_database() || current_setting('work_mem')`); got != "shop3MB" {
		t.Errorf("database and setting are %s", got)
	}
}

func TestMeshRefusesOptions(t *testing.T) {
	for name, opts := range map[string]Options{
		"names that are the same":   {Names: []string{"a", "a"}},
		"a name that is no name":    {Names: []string{"A-1"}},
		"a number that is another":  {Nodes: 3, Names: []string{"a", "b"}},
		"a release that is too old": {Major: 15},
		"a schema that is no SQL":   {Schema: []string{"create nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := StartMesh(limit(t), opts); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestLinkCutAndHeal(t *testing.T) {
	m := startMesh(t, Options{Links: true, Schema: []string{journal}})
	m.Link("n1", "n2").Cut()
	write(t, m, "n1", "a")
	write(t, m, "n2", "b")
	// Only n1 -> n2 is cut: all else arrives.
	must(t, m.WaitCaughtUp(limit(t), "n1", "n3"))
	must(t, m.WaitCaughtUp(limit(t), "n2", "n3"))
	must(t, waitFor(t, m, "n1", "n1:a n2:b"))
	if got := read(t, m, "n3"); got != "n1:a n2:b" {
		t.Errorf("n3 has %q", got)
	}
	if got := read(t, m, "n2"); got != "n2:b" {
		t.Errorf("n2 has %q through a cut link", got)
	}
	must(t, m.Heal())
	wantEverywhere(t, m, "n1:a n2:b")
}

func TestIsolate(t *testing.T) {
	m := startMesh(t, Options{Links: true, Schema: []string{journal}})
	m.Isolate("n3")
	for _, node := range m.Names() {
		write(t, m, node, "a")
	}
	must(t, m.WaitCaughtUp(limit(t), "n1", "n2"))
	for node, want := range map[string]string{"n1": "n1:a n2:a", "n2": "n1:a n2:a", "n3": "n3:a"} {
		if got := read(t, m, node); got != want {
			t.Errorf("%s has %q, want %q", node, got, want)
		}
	}
	must(t, m.Heal())
	wantEverywhere(t, m, "n1:a n2:a n3:a")
}

// waitFor waits until a node has exactly what is wanted.
func waitFor(t *testing.T, m *Mesh, node, want string) error {
	t.Helper()
	return until(limit(t), func() bool { return read(t, m, node) == want })
}

func TestWaitCaughtUpNamesWhoIsBehind(t *testing.T) {
	m := startMesh(t, Options{Nodes: 2, Links: true, Schema: []string{journal}})
	m.Link("n1", "n2").Cut()
	// A limit that ends before the servers were asked names none: try longer ones.
	for limit := 100 * time.Millisecond; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := m.WaitCaughtUp(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v through a cut link, want the context's", err)
		}
		if strings.Contains(err.Error(), SubscriptionName("n2", "n1")) {
			return
		}
		if limit > time.Minute {
			t.Fatalf("error %v does not name the stream from n1 to n2", err)
		}
	}
}

func TestNodeKilledAndBack(t *testing.T) {
	m, ctx := startMesh(t, Options{Links: true, Schema: []string{journal}}), limit(t)
	write(t, m, "n1", "a")
	must(t, m.WaitCaughtUp(ctx))
	must(t, m.Kill(ctx, "n1"))
	write(t, m, "n2", "b")
	must(t, m.WaitCaughtUp(ctx)) // those that run
	must(t, m.Node("n1").Start(ctx))
	write(t, m, "n1", "c")
	wantEverywhere(t, m, "n1:a n1:c n2:b")
}

func TestNodeFrozenAndBack(t *testing.T) {
	m, ctx := startMesh(t, Options{Schema: []string{journal}}), limit(t)
	must(t, m.Node("n3").Freeze(ctx))
	write(t, m, "n1", "a")
	must(t, m.WaitCaughtUp(ctx, "n1", "n2"))
	m.Node("n3").Thaw()
	wantEverywhere(t, m, "n1:a")
}

func TestTwoMeshesAtOnce(t *testing.T) {
	ctx := limit(t)
	meshes := make([]*Mesh, 2)
	var wg sync.WaitGroup
	for i := range meshes {
		wg.Go(func() {
			m, err := StartMesh(ctx, Options{Links: true, Schema: []string{journal}})
			if err != nil {
				t.Error(err)
				return
			}
			meshes[i] = m
		})
	}
	wg.Wait()
	for _, m := range meshes {
		if m != nil {
			t.Cleanup(func() { must(t, m.Close()) })
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for i, m := range meshes {
		write(t, m, "n1", fmt.Sprint(i))
	}
	for i, m := range meshes {
		wantEverywhere(t, m, fmt.Sprintf("n1:%d", i))
	}
}

func TestMeshCloseLeavesNothing(t *testing.T) {
	ctx := limit(t)
	m, err := StartMesh(ctx, Options{Links: true, Schema: []string{journal}})
	must(t, err)
	m.Isolate("n1")
	must(t, m.Node("n2").Freeze(ctx))
	must(t, m.Kill(ctx, "n3"))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range m.Nodes() {
		if pids := s.family(); len(pids) != 0 {
			t.Errorf("processes %v of %s are left", pids, s.Name())
		}
	}
	if _, err := os.Stat(m.work.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// However far a start has come when its context ends, nothing of it stays.
func TestMeshStartCancelled(t *testing.T) {
	must(t, func() error { _, err := Prepare(limit(t), 0); return err }())
	base, err := os.MkdirTemp(scratchBase(), "localpg-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755))
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond, 240 * time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			dir := fmt.Sprintf("%s/%s", base, after)
			m, err := StartMesh(ctx, Options{Dir: dir, Links: true})
			if err == nil { // a fast machine
				must(t, m.Close())
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the context's", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory is left: %v", err)
			}
		})
	}
}

func TestNodeAndLinkPanicOnAWrongName(t *testing.T) {
	m := startMesh(t, Options{Nodes: 2})
	for name, use := range map[string]func(){
		"node": func() { m.Node("n9") },
		"link": func() { m.Link("n1", "n2") }, // started without links
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			use()
		}()
	}
}
