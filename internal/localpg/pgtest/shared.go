package pgtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"healer/internal/localpg"
)

// Shared keeps servers and meshes that all tests of a package use. A package
// that shares declares one variable of it in a test file and runs its tests with
// it:
//
//	var shared pgtest.Shared
//
//	func TestMain(m *testing.M) { shared.Run(m) }
//
// Each is started by the first test that asks for it. A test that breaks what
// others need (kills, cuts) takes one of its own with Mesh or Server.
type Shared struct {
	mu      sync.Mutex
	entries map[string]*entry
	serial  atomic.Int64
}

type entry struct {
	once    sync.Once
	mesh    *localpg.Mesh
	server  *localpg.Server
	servers []*localpg.Server
	err     error
}

// Run runs the tests and closes what they started. It returns the code to exit
// with, which a TestMain may ignore: package testing exits with it. Servers that
// do not end are a panic, for no test is left that could fail.
func (s *Shared) Run(m *testing.M) int {
	code := m.Run()
	if err := s.Close(); err != nil {
		panic(fmt.Errorf("close the shared servers: %w", err))
	}
	return code
}

// Close ends everything that is shared.
func (s *Shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, e := range s.entries {
		if e.mesh != nil {
			errs = append(errs, e.mesh.Close())
		}
		if e.server != nil {
			errs = append(errs, e.server.Close())
		}
	}
	s.entries = nil
	return errors.Join(errs...)
}

func (s *Shared) entry(tb testing.TB, key string, start func(ctx context.Context, e *entry) error) *entry {
	tb.Helper()
	s.mu.Lock()
	if s.entries == nil {
		s.entries = map[string]*entry{}
	}
	e := s.entries[key]
	if e == nil {
		e = &entry{}
		s.entries[key] = e
	}
	s.mu.Unlock()
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), StartLimit)
		defer cancel()
		e.err = start(ctx, e)
	})
	if e.err != nil {
		tb.Fatalf("a test that needs PostgreSQL cannot run: %v", e.err)
	}
	tb.Cleanup(func() { dump(tb, e.servers) })
	return e
}

// Mesh returns the mesh of a key, which the first caller starts with its
// options.
func (s *Shared) Mesh(tb testing.TB, key string, opts localpg.Options) *localpg.Mesh {
	tb.Helper()
	if !extension(tb, opts.Engine) && opts.Major == 0 && len(opts.Majors) == 0 {
		opts.Major = Major(tb)
	}
	return s.entry(tb, "mesh "+key, func(ctx context.Context, e *entry) (err error) {
		if e.mesh, err = localpg.StartMesh(ctx, opts); err == nil {
			e.servers = e.mesh.Nodes()
		}
		return err
	}).mesh
}

// Server returns the server of a key, which the first caller starts with its
// options.
func (s *Shared) Server(tb testing.TB, key string, opts localpg.ServerOptions) *localpg.Server {
	tb.Helper()
	if opts.Major == 0 {
		opts.Major = Major(tb)
	}
	return s.entry(tb, "server "+key, func(ctx context.Context, e *entry) (err error) {
		if e.server, err = localpg.StartServer(ctx, opts); err == nil {
			e.servers = []*localpg.Server{e.server}
		}
		return err
	}).server
}

// Database makes a fresh database for one test on the shared server of Major and
// returns the server and the database's DSN. The database goes with the test.
func (s *Shared) Database(tb testing.TB) (server *localpg.Server, dsn string) {
	tb.Helper()
	server = s.Server(tb, "databases", localpg.ServerOptions{})
	name := fmt.Sprintf("test_%d", s.serial.Add(1))
	if err := server.CreateDatabase(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), StartLimit)
		defer cancel()
		if err := server.DropDatabase(ctx, name); err != nil {
			tb.Errorf("drop the test's database: %v", err)
		}
	})
	return server, server.DSNFor(name)
}
