package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What follows makes a node come back as another than it was: the ways in which
// operators bring servers back, and against which a node's return is checked.

// errRunning is what needs the data directory to itself gets from a live server.
var errRunning = errors.New("the server is running")

func (s *Server) mustBeDown() error {
	if s.Running() || len(s.family()) > 0 {
		return errRunning
	}
	return nil
}

// Save copies the data directory of a server that is down, or frozen, to a directory that
// does not exist yet: a backup, to be given to Restore. Of a frozen one it is what a
// snapshot of its disk is.
func (s *Server) Save(to string) error {
	s.mu.Lock()
	frozen := s.frozen
	s.mu.Unlock()
	err := s.mustBeDown()
	if frozen || err == nil {
		err = cloneCluster(s.DataDir(), to, s.host.acc)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", s.Name(), err)
	}
	return nil
}

// Restore puts a saved data directory in place of the server's, which is down.
// The server has forgotten what came after, and writes the same LSNs again with
// other transactions.
func (s *Server) Restore(from string) error {
	if err := s.replaceData(func(data string) error { return cloneCluster(from, data, s.host.acc) }); err != nil {
		return fmt.Errorf("restore %s: %w", s.Name(), err)
	}
	return nil
}

// Reinit makes the server, which is down, an empty one with another system
// identifier, as a host that was set up anew under the old name. Start makes its
// database again; nothing else is made.
func (s *Server) Reinit() error {
	if err := s.replaceData(s.newCluster); err != nil {
		return fmt.Errorf("reinit %s: %w", s.Name(), err)
	}
	return nil
}

// replaceData builds a data directory aside and puts it in place, so that a
// failure leaves the old one.
func (s *Server) replaceData(build func(data string) error) error {
	if err := s.mustBeDown(); err != nil {
		return err
	}
	aside := filepath.Join(s.dir, "data.new")
	if err := build(aside); err != nil {
		return errors.Join(err, os.RemoveAll(aside))
	}
	s.clearStale()
	if err := os.RemoveAll(s.DataDir()); err != nil {
		return err
	}
	return os.Rename(aside, s.DataDir())
}

// newCluster makes a data directory with an identifier of its own.
func (s *Server) newCluster(data string) error {
	if err := cloneCluster(s.host.template, data, s.host.acc); err != nil {
		return err
	}
	id, err := newSystemID(time.Now())
	if err != nil {
		return err
	}
	if err := setSystemID(data, id); err != nil {
		return err
	}
	return writeAccess(data, s.opts.Scram)
}

// ForkTimeline restarts the server so that it goes on in a new timeline, as a
// standby does that was promoted in its place.
func (s *Server) ForkTimeline(ctx context.Context) error {
	if err := s.forkTimeline(ctx); err != nil {
		return fmt.Errorf("fork the timeline of %s: %w", s.Name(), err)
	}
	return nil
}

func (s *Server) forkTimeline(ctx context.Context) error {
	if err := s.Stop(ctx, Fast); err != nil {
		return err
	}
	// Recovery from an archive that has nothing ends at once, and whatever ends
	// such a recovery begins a timeline.
	signal := filepath.Join(s.DataDir(), "recovery.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return err
	}
	if err := s.host.acc.own(signal); err != nil {
		return err
	}
	s.SetConf("restore_command", "/bin/false")
	if err := s.Start(ctx); err != nil {
		return err
	}
	for { // it takes connections, read-only ones, before the recovery ends
		recovering, err := Value[bool](ctx, s, `select pg_is_in_recovery()`)
		if err != nil || !recovering {
			return err
		}
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
}
