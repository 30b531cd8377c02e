//go:build failpoints

package app

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"healer/executor"
	"healer/planner"
)

// envFailpoint names the file in which a test writes where the next agent that
// comes by is to die: a boundary and a kind of step, such as "after_apply clone".
// The boundary "inside" is a while after before_apply, which a third word gives.
// With "hold" before it the agent waits there instead, until the test takes the
// file away that says it was met; with "tell" it goes on at once.
const envFailpoint = "HEALER_FAILPOINT"

// holdPoll is how often an agent that waits looks whether it may go on.
const holdPoll = time.Millisecond

// failpoint kills the process, as SIGKILL does, at the boundary that the file
// names, or lets the test know that it is there. The agent that takes the file
// away is the one that does.
func failpoint() func(executor.At, planner.Step) error {
	path := os.Getenv(envFailpoint)
	return func(at executor.At, s planner.Step) error {
		b, err := os.ReadFile(path)
		words := strings.Fields(string(b))
		verb := "die"
		if len(words) > 0 && (words[0] == "hold" || words[0] == "tell") {
			verb, words = words[0], words[1:]
		}
		words = append(words, "0s")
		if err != nil || len(words) < 3 || words[1] != string(s.Kind) {
			return nil
		}
		inside := words[0] == "inside" && at == executor.BeforeApply
		if words[0] != string(at) && !inside {
			return nil
		}
		after, err := time.ParseDuration(words[2])
		if err != nil {
			return err
		}
		met := path + ".hit"
		if err := os.Rename(path, met); err != nil {
			return nil // another step or agent was faster
		}
		die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
		switch {
		case verb == "tell":
			return nil
		case verb == "hold":
			hold(met)
			return nil
		case inside:
			time.AfterFunc(after, die)
			return nil
		}
		die()
		return errors.New("killed")
	}
}

// hold waits until the file is gone.
func hold(path string) {
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(path); err != nil {
			return
		}
	}
}
