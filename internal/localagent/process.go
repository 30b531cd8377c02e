package localagent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"healer/internal/localpg"
)

// Agent is the agent process of one node, which can be killed and started anew.
type Agent struct {
	node, program string
	args          []string
	log           string
	env           []string
	enter         func() error // moves a thread to the agent's network; nil: this one

	mu   sync.Mutex
	pid  int
	done chan struct{} // nil before the first start; closed when it has ended
	err  error
}

// New describes the agent of a node: program is the healer binary, file the
// cluster's file, dir the directory for its data and its log.
func New(program, file, node, dir string) *Agent {
	return &Agent{
		node: node, program: program, log: filepath.Join(dir, node+".log"),
		args: []string{"agent", "--config", file, "--node", node, "--data-dir", filepath.Join(dir, node)},
	}
}

// In makes the agent live in another network: enter moves the calling thread there.
func (a *Agent) In(enter func() error) *Agent {
	a.enter = enter
	return a
}

// With adds variables to the agent's environment.
func (a *Agent) With(env ...string) *Agent {
	a.env = env
	return a
}

// Log is the file that the agent writes its log to.
func (a *Agent) Log() string { return a.log }

// Start starts the process in a group of its own, so that Ctrl-C at a terminal
// reaches only the caller, which then ends the agents.
//
// If the caller dies without doing so, the kernel kills the agent. That is bound
// to the thread that forked, and Go ends threads when it likes: so one
// goroutine, locked to its thread, forks and waits for the end.
func (a *Agent) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done != nil {
		select {
		case <-a.done:
		default:
			return fmt.Errorf("the agent of %s runs already", a.node)
		}
	}
	if err := os.MkdirAll(filepath.Dir(a.log), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		defer func() { _ = log.Close() }()
		if a.enter == nil {
			defer runtime.UnlockOSThread()
		} else if err := a.enter(); err != nil { // the thread ends with the goroutine
			started <- err
			return
		}
		cmd := exec.Command(a.program, a.args...) //nolint:noctx // it outlives every context but the run's
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Env = append(os.Environ(), a.env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		a.pid = cmd.Process.Pid
		started <- nil
		err := cmd.Wait()
		a.mu.Lock()
		a.err = err
		a.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("agent of %s: %w", a.node, err)
	}
	a.done = done
	return nil
}

// Running reports whether the process lives.
func (a *Agent) Running() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		return false
	}
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// Ended is an error when the process has ended by itself: with the end of its
// log, where it says why.
func (a *Agent) Ended() error {
	if a.Running() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Errorf("the agent of %s has ended (%w); its log ends with:\n%s", a.node, a.err, a.Tail(10))
}

// Kill ends the process as a crash does; nothing when none runs.
func (a *Agent) Kill() { a.end(syscall.SIGKILL) }

// Stop asks the process to end in order, as a service manager does, and waits until it has.
func (a *Agent) Stop() { a.end(syscall.SIGTERM) }

func (a *Agent) end(by syscall.Signal) {
	if _, done := a.signal(by); done != nil {
		<-done
	}
}

// signal sends a signal to the process and all that it started, if it runs; done is
// closed when it has ended.
func (a *Agent) signal(s syscall.Signal) (pid int, done <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		return 0, nil
	}
	select {
	case <-a.done:
		return 0, a.done
	default:
		_ = syscall.Kill(-a.pid, s)
		return a.pid, a.done
	}
}

// Freeze stops the process: its connections stay, and it says nothing. It returns when
// the kernel says that it is stopped.
func (a *Agent) Freeze(ctx context.Context) error {
	pid, _ := a.signal(syscall.SIGSTOP)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for pid != 0 {
		if localpg.ProcessState(pid) == 'T' {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the agent of %s does not stop: %w", a.node, context.Cause(ctx))
		}
	}
	return fmt.Errorf("the agent of %s does not run", a.node)
}

// Thaw lets a frozen process go on.
func (a *Agent) Thaw() { a.signal(syscall.SIGCONT) }

// PID is the process, 0 when it does not run.
func (a *Agent) PID() int {
	pid, _ := a.signal(0)
	return pid
}

// Tail is the end of the log.
func (a *Agent) Tail(lines int) string {
	b, err := os.ReadFile(a.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
