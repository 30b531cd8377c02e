package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"healer/internal/localnet"
)

// process is a child that can be killed, frozen and started again.
type process struct {
	program string
	args    []string
	// host is the network it lives in; nil for this process's own.
	host *localnet.Host
	// lines takes each line of its output, while it runs.
	lines func(line []byte)

	mu   sync.Mutex
	pid  int
	done chan struct{}
}

// start starts the child. It dies with the thread that forked it, so one goroutine,
// locked to its thread, forks and waits for the end.
func (p *process) start() error {
	out, in := io.Pipe()
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread may be in another network
		defer close(done)
		defer in.Close() //nolint:errcheck // a pipe's end
		if err := p.host.Enter(); err != nil {
			started <- err
			return
		}
		cmd := exec.Command(p.program, p.args...) //nolint:noctx // it outlives every context but the run's
		cmd.Stdout, cmd.Stderr = in, in
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.mu.Lock()
		p.pid, p.done = cmd.Process.Pid, done
		p.mu.Unlock()
		started <- nil
		_ = cmd.Wait() // it ends when it is killed
	}()
	go func() {
		in := bufio.NewReaderSize(out, 1<<16)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				_, _ = io.Copy(io.Discard, out)
				return
			}
			if p.lines != nil {
				p.lines(line)
			}
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.program, err)
	}
	return nil
}

// signal sends a signal to the process, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		return
	}
	select {
	case <-p.done: // its number may be another's by now
	default:
		_ = syscall.Kill(-p.pid, s)
	}
}

// kill ends the process and waits for its end.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (p *process) freeze() { p.signal(syscall.SIGSTOP) }
func (p *process) thaw()   { p.signal(syscall.SIGCONT) }
