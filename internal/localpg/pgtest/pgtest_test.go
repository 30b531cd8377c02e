package pgtest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { shared.Run(m) }

// recorder is a test that may fail without failing ours.
type recorder struct {
	testing.TB
	cleanups []func()
	failed   bool
	fatal    string
	logged   []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return context.Background() }
func (r *recorder) Failed() bool             { return r.failed }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, args ...any) {
	r.logged = append(r.logged, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed, r.fatal = true, fmt.Sprintf(format, args...)
	panic(r)
}

// play runs a test body and then its cleanups.
func (r *recorder) play(body func()) {
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(r) {
				panic(p)
			}
		}()
		body()
	}()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

func TestServerEndsWithItsTest(t *testing.T) {
	r := &recorder{TB: t}
	var server *localpg.Server
	r.play(func() {
		server = pgtest.Server(r, localpg.ServerOptions{})
		if !server.Running() {
			t.Error("not running")
		}
	})
	if server == nil || server.Running() {
		t.Error("the server outlives its test")
	}
	if len(r.logged) != 0 {
		t.Errorf("a test that passed shows logs: %q", r.logged)
	}
}

func TestFailedTestShowsLogs(t *testing.T) {
	r := &recorder{TB: t}
	r.play(func() {
		mesh := pgtest.Mesh(r, localpg.Options{Nodes: 2})
		if err := mesh.Exec(t.Context(), "n2", `do $$ begin raise log 'the cause'; end $$`); err != nil {
			t.Error(err)
		}
		r.failed = true
	})
	all := strings.Join(r.logged, "\n")
	for _, want := range []string{"server n1", "server n2", "the cause"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in what the failed test shows", want)
		}
	}
}

func TestNoServerFailsAndTellsTheRemedy(t *testing.T) {
	r := &recorder{TB: t}
	r.play(func() { pgtest.Server(r, localpg.ServerOptions{Major: 98}) })
	if !r.failed || !strings.Contains(r.fatal, "make postgres") {
		t.Errorf("failed %v with %q", r.failed, r.fatal)
	}
}

func TestMajorFromTheEnvironment(t *testing.T) {
	t.Setenv(pgtest.EnvMajor, "16")
	if got := pgtest.Server(t, localpg.ServerOptions{}).Major(); got != 16 {
		t.Errorf("major %d, want 16", got)
	}
}

func TestSharedStartsOnce(t *testing.T) {
	servers, meshes := make([]*localpg.Server, 4), make([]*localpg.Mesh, 4)
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() {
			servers[i] = shared.Server(t, "one", localpg.ServerOptions{})
			meshes[i] = shared.Mesh(t, "one", localpg.Options{Nodes: 2})
		})
	}
	wg.Wait()
	for i := range servers {
		if servers[i] != servers[0] || meshes[i] != meshes[0] {
			t.Error("two tests got two")
		}
	}
	if shared.Server(t, "other", localpg.ServerOptions{}) == servers[0] {
		t.Error("two keys got one")
	}
}

func TestDatabasePerTest(t *testing.T) {
	var dsns []string
	for range 2 {
		t.Run("", func(t *testing.T) {
			server, dsn := shared.Database(t)
			if !server.Running() {
				t.Error("not running")
			}
			dsns = append(dsns, dsn)
		})
	}
	if dsns[0] == dsns[1] {
		t.Error("two tests got one database")
	}
	server, _ := shared.Database(t)
	left, err := localpg.Value[int](t.Context(), server, `select count(*) from pg_database where datname like 'test\_%'`)
	if err != nil || left != 1 {
		t.Errorf("%d databases of tests, want only this one's: %v", left, err)
	}
}
