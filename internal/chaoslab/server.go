package chaoslab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/fault"
	"healer/internal/localagent"
	"healer/internal/localpg"
)

// server is a server whose doors shut when it goes: what leads to it refuses then.
type server struct {
	*localpg.Server
	lab *Lab

	mu    sync.Mutex
	doors []func() error // what opens them again
}

var _ fault.Server = (*server)(nil)

// shut makes every way to the server refuse.
func (s *server) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doors != nil {
		return
	}
	for _, ways := range []map[pair]*wire{s.lab.sql, s.lab.repl} {
		for p, w := range ways {
			if ways[p] == s.lab.sql[p] && p.to != s.Name() || ways[p] == s.lab.repl[p] && p.from != s.Name() {
				continue
			}
			if undo, err := w.Bend(fault.Bend{Refuse: true}); err == nil {
				s.doors = append(s.doors, undo)
			}
		}
	}
}

func (s *server) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, undo := range s.doors {
		errs = append(errs, undo())
	}
	s.doors = nil
	return errors.Join(errs...)
}

// Kill implements fault.Server.
func (s *server) Kill(ctx context.Context) error {
	err := s.Server.Kill(ctx)
	s.shut()
	return err
}

// KillPostmaster implements fault.Server.
func (s *server) KillPostmaster(ctx context.Context) error {
	err := s.Server.KillPostmaster(ctx)
	s.shut()
	return err
}

// Stop implements fault.Server. A subscriber that is not reached would make a fast
// shutdown wait for as long as its link is cut: after a while it is immediate, as an
// operator would have it.
func (s *server) Stop(ctx context.Context, mode string) error {
	patient, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	err := s.Server.Stop(patient, localpg.StopMode(mode))
	if err != nil && ctx.Err() == nil {
		err = s.Server.Stop(ctx, localpg.Immediate)
	}
	s.shut()
	return err
}

const stopLimit = 3 * time.Second

// Start implements fault.Server.
func (s *server) Start(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	if s.Running() {
		return nil
	}
	return s.Server.Start(ctx)
}

// Recovering implements fault.Server.
func (s *server) Recovering(mark int64) bool {
	log := s.Logged(mark)
	return strings.Contains(log, "automatic recovery in progress") && !strings.Contains(log, "ready to accept connections")
}

// Save implements fault.Server.
func (s *server) Save(name string) error {
	to := filepath.Join(s.lab.opts.Dir, name+"-"+s.Name())
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return s.Server.Save(to)
}

// Restore implements fault.Server.
func (s *server) Restore(name string) error {
	return s.Server.Restore(filepath.Join(s.lab.opts.Dir, name+"-"+s.Name()))
}

// database runs SQL on a server, beside all proxies.
type database struct{ on localpg.Connector }

// Exec implements fault.Database.
func (d database) Exec(ctx context.Context, sql string) error {
	conn, err := d.on.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// Texts implements fault.Database.
func (d database) Texts(ctx context.Context, sql string) ([]string, error) {
	return localpg.Rows(ctx, d.on, pgx.RowTo[string], sql)
}

// agent is an agent whose clock can be told to be wrong.
type agent struct {
	*localagent.Agent
	lab  *Lab
	node string
}

var _ fault.Agent = agent{}

// Stop implements fault.Agent.
func (a agent) Stop(ctx context.Context) error {
	ended := make(chan struct{})
	go func() { a.Agent.Stop(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent of %s does not end: %w", a.node, context.Cause(ctx))
	}
}

// Clock implements fault.Agent: the date of an answer of its HTTP server.
func (a agent) Clock(ctx context.Context) (time.Time, error) {
	res, err := a.lab.get(ctx, a.node, "/livez")
	if err != nil {
		return time.Time{}, err
	}
	_ = res.Body.Close()
	return time.Parse(time.RFC1123, res.Header.Get("Date"))
}

// StepClock implements fault.Agent.
func (a agent) StepClock(offset time.Duration) error {
	pid := a.PID()
	if pid == 0 {
		return fmt.Errorf("the agent of %s does not run", a.node)
	}
	defer a.Thaw()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for {
		if err := a.Freeze(ctx); err != nil {
			return err
		}
		busy, err := setClock(pid, offset)
		if err == nil && !busy {
			return nil
		}
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		a.Thaw() // a thread was reading the clock: stop them elsewhere
	}
}
