package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"healer/postgres"
	"healer/topology"
)

// history is a timeline history, and the server's life in which it was read: a
// restart may begin another line under the same number.
type history struct {
	of    topology.Identity
	forks []topology.Fork
}

// history returns where the server left its earlier timelines. It is read once
// for each of the server's lives, by a replication command, which any role
// that may replicate can give.
func (e *Engine) history(ctx context.Context, s *postgres.Server, id topology.Identity) ([]topology.Fork, error) {
	if id.Timeline <= 1 {
		return nil, nil
	}
	e.mu.Lock()
	h, ok := e.forks[s.Name()]
	e.mu.Unlock()
	if ok && h.of == id {
		return h.forks, nil
	}
	conn, err := s.Replication(ctx)
	if err != nil {
		return nil, err
	}
	defer postgres.Hangup(conn)
	file, err := pglogrepl.TimelineHistory(ctx, conn, int32(id.Timeline)) //nolint:gosec // timelines are small
	if err != nil {
		return nil, postgres.Wrap(s.Name(), err)
	}
	forks, err := parseHistory(string(file.Content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.FileName, err)
	}
	e.mu.Lock()
	e.forks[s.Name()] = history{of: id, forks: forks}
	e.mu.Unlock()
	return forks, nil
}

// parseHistory reads a timeline history file: lines of parent timeline, switch
// LSN and a reason, separated by white space; # begins a comment.
func parseHistory(text string) ([]topology.Fork, error) {
	var forks []topology.Fork
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("line %q: want a timeline and an LSN", line)
		}
		tli, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: want a timeline: %w", line, err)
		}
		lsn, err := topology.ParseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		forks = append(forks, topology.Fork{Timeline: uint32(tli), SwitchLSN: lsn})
	}
	return forks, nil
}
