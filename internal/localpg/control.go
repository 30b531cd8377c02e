package localpg

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// killLimit bounds how long a killed process may take to be gone. The kernel
// needs microseconds; a process in uninterruptible sleep needs its disk.
const killLimit = 30 * time.Second

// Stop shuts the server down and waits until all its processes are gone. It is
// no error when the server is down already. A frozen server is thawed first.
func (s *Server) Stop(ctx context.Context, mode StopMode) error {
	signal, ok := mode.signal()
	if !ok {
		return fmt.Errorf("stop %s: unknown mode %q", s.Name(), mode)
	}
	pm := s.postmaster()
	if pm == nil {
		return nil
	}
	s.Thaw()
	if pm.running() {
		_ = syscall.Kill(pm.pid, signal)
	}
	if err := s.awaitEnd(ctx, pm); err != nil {
		return fmt.Errorf("stop %s (%s): %w", s.Name(), mode, err)
	}
	return nil
}

// awaitEnd waits for the postmaster to be reaped and for the children.
func (s *Server) awaitEnd(ctx context.Context, pm *postmaster) error {
	select {
	case <-pm.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return until(ctx, func() bool { return len(s.family()) == 0 })
}

// Kill ends the postmaster and all its children at once, without a chance to say
// anything, as the end of a host does, except that the kernel still resets their
// connections. Data and port stay: Start takes them up again. It is no error
// when the server is down already.
func (s *Server) Kill(ctx context.Context) error {
	pm := s.postmaster()
	if pm == nil {
		return nil
	}
	if err := s.kill(ctx, pm); err != nil {
		return fmt.Errorf("kill %s: %w", s.Name(), err)
	}
	return nil
}

// kill keeps the lock, so that no other goroutine starts the server anew between
// the choice of whom to kill and the killing.
func (s *Server) kill(ctx context.Context, pm *postmaster) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm != pm {
		return nil // the one to kill is gone, and another runs in its place
	}
	if pm.running() {
		// Stopped, it bears no child that the count of the family would miss.
		if err := stopOne(ctx, pm.pid); err != nil {
			return err
		}
	}
	if err := killAll(ctx, s.host.inst.program("postgres"), s.DataDir()); err != nil {
		return err
	}
	s.frozen = false
	return s.awaitEnd(ctx, pm)
}

// killAnyway kills also when the context is over.
func (s *Server) killAnyway(ctx context.Context, pm *postmaster) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	_ = s.kill(ctx, pm)
}

// KillPostmaster ends only the postmaster, as the OOM killer may. The children
// see it when they next wait for something, and end.
func (s *Server) KillPostmaster(ctx context.Context) error {
	pm := s.postmaster()
	if pm == nil || !pm.running() {
		return fmt.Errorf("kill the postmaster of %s: %w", s.Name(), ErrNotRunning)
	}
	_ = syscall.Kill(pm.pid, syscall.SIGKILL)
	select {
	case <-pm.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill the postmaster of %s: %w", s.Name(), context.Cause(ctx))
	}
}

// Freeze stops every process of the server: its connections stay open, and
// nothing answers. It returns when all have stopped. If we die while it is
// frozen, it wakes and ends (see spawn).
func (s *Server) Freeze(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil || !s.pm.running() {
		return fmt.Errorf("freeze %s: %w", s.Name(), ErrNotRunning)
	}
	if err := stopAll(ctx, s.host.inst.program("postgres"), s.DataDir(), s.pm.pid); err != nil {
		continueAll(s.host.inst.program("postgres"), s.DataDir())
		return fmt.Errorf("freeze %s: %w", s.Name(), err)
	}
	s.frozen = true
	return nil
}

// Thaw lets a frozen server go on; it does nothing to one that is not frozen.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		continueAll(s.host.inst.program("postgres"), s.DataDir())
		s.frozen = false
	}
}

// Restart stops the server as mode says and starts it again.
func (s *Server) Restart(ctx context.Context, mode StopMode) error {
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return s.Start(ctx)
}

// SetConf changes a setting; it takes effect at the next Start, or at Reload
// where PostgreSQL allows that.
func (s *Server) SetConf(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf[key] = value
}

// Reload writes the settings and lets the running server read them. It returns
// when they were sent, not when every session has taken them up.
func (s *Server) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil || !s.pm.running() {
		return fmt.Errorf("reload %s: %w", s.Name(), ErrNotRunning)
	}
	if err := s.writeConf(); err != nil {
		return fmt.Errorf("reload %s: %w", s.Name(), err)
	}
	return syscall.Kill(s.pm.pid, syscall.SIGHUP)
}

// Close kills the server, gives its port back and removes its directory. It may
// be called again.
func (s *Server) Close() error { return s.close(context.Background()) }

// close closes also when the context is over.
func (s *Server) close(ctx context.Context) error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killLimit)
	defer cancel()
	if err := s.Kill(ctx); err != nil {
		return err // its files are in use: leave them
	}
	s.clearStale()
	err := os.RemoveAll(s.dir)
	if s.work != nil {
		s.work.remove()
	}
	s.lease.release()
	return err
}

// Signal sends a signal to one of the server's own processes; another's is an error.
func (s *Server) Signal(pid int, sig syscall.Signal) error {
	if !slices.Contains(s.family(), pid) {
		return fmt.Errorf("signal process %d of %s: %w", pid, s.Name(), ErrNotRunning)
	}
	return syscall.Kill(pid, sig)
}

// Stopped reports whether a process has stopped, as after SIGSTOP: it does so only when it
// runs next.
func (*Server) Stopped(pid int) bool { return stopped(pid) }

// Mark is the present end of the server's log, for Logged.
func (s *Server) Mark() int64 { return s.logSize() }

// Logged is what the server has logged since a mark, at most a megabyte of it.
func (s *Server) Logged(since int64) string { return s.logSince(since) }
