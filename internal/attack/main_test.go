package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"healer/topology"
)

// envChild makes the test's program one attempt at a gap, in a process of its own.
const envChild = "HEALER_ATTACK_CHILD"

// How a child ends that nobody kills: what it met may pass, or not.
const exitRetry, exitFault = 3, 4

// order is what a child is told.
type order struct {
	Gap gap
	// Side and At are when the process kills itself; On is the connection.
	On   string
	Side Side
	At   int
}

func TestMain(m *testing.M) {
	if o := os.Getenv(envChild); o != "" {
		if err := child(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code := exitRetry
			var f *topology.Fault
			if errors.As(err, &f) && f.Class == topology.Permanent {
				code = exitFault
			}
			os.Exit(code)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// child carries a gap over until it is to die.
func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	plans := map[string]Plan{o.On: {Side: o.Side, At: o.At, Strike: suicide}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := carry(ctx, o.Gap, plans["session"], plans["stream"])
	return err
}

// suicide ends the process with everything in it.
func suicide(*Wire) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// process carries the gap over in a process of its own, and reports whether it was
// killed.
func (l *lab) process(o order) bool {
	l.Helper()
	text, err := json.Marshal(o)
	l.must(err)
	ctx, cancel := l.bounded()
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.As(err, &exit) && exit.ExitCode() == exitRetry:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil: //nolint:errcheck,forcetypeassert // it is one here
		return true
	}
	l.Fatalf("the process at message %d of the %s: %v\n%s", o.At, o.On, err, out)
	return false
}
