package pgtest

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"healer/internal/localpg"
)

// EnvMajor names the environment variable that chooses the major version of all
// tests which do not choose one themselves.
const EnvMajor = "HEALER_TEST_PG"

// defaultMajor is the version that tests run on when nobody chooses.
const defaultMajor = 18

// StartLimit bounds the start of a server or mesh, so that a test whose server
// hangs says so instead of running into the limit of the whole run.
const StartLimit = 2 * time.Minute

// tailLines is how much of each server's log a failed test shows.
const tailLines = 40

// Major is the version tests run on: HEALER_TEST_PG or 18.
func Major(tb testing.TB) int {
	tb.Helper()
	major, err := majorFromEnv()
	if err != nil {
		tb.Fatal(err)
	}
	return major
}

func majorFromEnv() (int, error) {
	value := os.Getenv(EnvMajor)
	if value == "" {
		return defaultMajor, nil
	}
	return strconv.Atoi(value)
}

// EnvCI is set where a test must not skip.
const EnvCI = "CI"

// extension skips the test where there is no server with the extension that the mesh
// needs; false for a mesh of PostgreSQL's own, which any server can be.
func extension(tb testing.TB, engine string) bool {
	tb.Helper()
	switch engine {
	case localpg.Pglogical:
		pglogical(tb)
	case localpg.Spock:
		spock(tb)
	default:
		return false
	}
	return true
}

// spock skips the test unless a PostgreSQL with Spock is named: none can be installed. One
// that is named and is not there fails the test.
func spock(tb testing.TB) {
	tb.Helper()
	_, err := localpg.FindSpock()
	switch {
	case err == nil:
	case os.Getenv(localpg.EnvSpockBinDir) != "":
		tb.Fatalf("a test that needs Spock cannot run: %v", err)
	default:
		tb.Skipf("needs Spock: %v", err)
	}
}

// pglogical skips the test where PostgreSQL with pglogical is not found, or fails it
// where no test may skip; either says how to install it.
func pglogical(tb testing.TB) {
	tb.Helper()
	_, err := localpg.FindPglogical()
	switch {
	case err == nil:
	case os.Getenv(EnvCI) != "":
		tb.Fatalf("a test that needs pglogical cannot run: %v", err)
	default:
		tb.Skipf("needs pglogical: %v", err)
	}
}

// Mesh starts a mesh that ends with the test. Major 0 means that of Major.
func Mesh(tb testing.TB, opts localpg.Options) *localpg.Mesh {
	tb.Helper()
	if !extension(tb, opts.Engine) && opts.Major == 0 && len(opts.Majors) == 0 {
		opts.Major = Major(tb)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), StartLimit)
	defer cancel()
	mesh, err := localpg.StartMesh(ctx, opts)
	if err != nil {
		tb.Fatalf("a test that needs PostgreSQL %d cannot run: %v", opts.Major, err)
	}
	tb.Cleanup(func() { finish(tb, mesh.Nodes(), mesh.Close) })
	return mesh
}

// Server starts a server that ends with the test. Major 0 means that of Major.
func Server(tb testing.TB, opts localpg.ServerOptions) *localpg.Server {
	tb.Helper()
	if opts.Major == 0 {
		opts.Major = Major(tb)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), StartLimit)
	defer cancel()
	server, err := localpg.StartServer(ctx, opts)
	if err != nil {
		tb.Fatalf("a test that needs PostgreSQL %d cannot run: %v", opts.Major, err)
	}
	tb.Cleanup(func() { finish(tb, []*localpg.Server{server}, server.Close) })
	return server
}

// Proxy starts a fault proxy in front of upstream, a host:port, that ends with
// the test.
func Proxy(tb testing.TB, upstream string) *localpg.Proxy {
	tb.Helper()
	proxy, err := localpg.StartProxy(upstream)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(proxy.Close)
	return proxy
}

// Addr is an address on which no other test listens or connects from, until the
// test ends.
func Addr(tb testing.TB) string {
	tb.Helper()
	addr, release, err := localpg.LeaseAddr(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return addr
}

// finish shows what the servers said when the test failed, and closes them.
func finish(tb testing.TB, servers []*localpg.Server, closeAll func() error) {
	tb.Helper()
	dump(tb, servers)
	if err := closeAll(); err != nil {
		tb.Errorf("close: %v", err)
	}
}

func dump(tb testing.TB, servers []*localpg.Server) {
	tb.Helper()
	if !tb.Failed() {
		return
	}
	for _, s := range servers {
		tb.Logf("log of server %s:\n%s", s.Name(), s.LogTail(tailLines))
	}
}

// Eventually waits until check has nothing to object to, and ends the test when that
// is not so within the limit.
func Eventually(tb testing.TB, limit time.Duration, what string, check func() error) {
	tb.Helper()
	deadline := time.Now().Add(limit)
	var err error
	for time.Now().Before(deadline) {
		if err = check(); err == nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	tb.Fatalf("%s: not within %s: %v", what, limit, err)
}
