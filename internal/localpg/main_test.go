package localpg

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childOf tells the test binary to be a program that starts servers, to be
// killed by the test that started it.
const childOf = "HEALER_LOCALPG_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childOf); role != "" {
		childMain(role) // returns only when it failed, and its parent then reads no answer
		return
	}
	goleak.VerifyTestMain(m)
}

// limit is the context of a test: nothing here may hang.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask runs a query for one value.
func ask[T any](t *testing.T, on Connector, sql string, args ...any) T {
	t.Helper()
	v, err := Value[T](limit(t), on, sql, args...)
	must(t, err)
	return v
}

func startServer(t *testing.T, opts ServerOptions) *Server {
	t.Helper()
	s, err := StartServer(limit(t), opts)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.Name(), s.LogTail(40))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func startMesh(t *testing.T, opts Options) *Mesh {
	t.Helper()
	m, err := StartMesh(limit(t), opts)
	must(t, err)
	t.Cleanup(func() {
		for _, s := range m.Nodes() {
			if t.Failed() {
				t.Logf("log of %s:\n%s", s.Name(), s.LogTail(40))
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
