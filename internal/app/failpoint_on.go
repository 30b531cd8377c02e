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
const envFailpoint = "HEALER_FAILPOINT"

// failpoint kills the process, as SIGKILL does, at the boundary that the file
// names. The agent that takes the file away is the one that dies.
func failpoint() func(executor.At, planner.Step) error {
	path := os.Getenv(envFailpoint)
	return func(at executor.At, s planner.Step) error {
		b, err := os.ReadFile(path)
		words := append(strings.Fields(string(b)), "0s")
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
		if err := os.Rename(path, path+".hit"); err != nil {
			return nil // another step or agent was faster
		}
		die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
		if inside {
			time.AfterFunc(after, die)
			return nil
		}
		die()
		return errors.New("killed")
	}
}
