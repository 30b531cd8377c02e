package app_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"healer/api"
	"healer/internal/localpg"
	"healer/topology"
)

// found waits until the agents show that n1 goes on from an older state, while an operator
// keeps them from doing anything about it.
func (c *cluster) found(agents ...string) {
	c.t.Helper()
	for _, agent := range agents {
		c.eventually(agent+" shows that n1 went back", func() error {
			s, err := c.status(agent)
			if err != nil {
				return err
			}
			n1, err := c.sees(agent, "n1")
			if err != nil {
				return err
			}
			finding := slices.ContainsFunc(n1.Findings, func(f topology.Finding) bool {
				return f.Code == "behind_watermark" && !f.Blocking && strings.HasPrefix(f.Remedy, "healer node rebuild n1")
			})
			told := slices.ContainsFunc(s.Refusals, func(r api.Refusal) bool {
				return r.Subject == "n1" && r.Reason == "paused" && strings.Contains(r.Why, "restored from an older state")
			})
			if !finding || !told {
				return fmt.Errorf("findings %+v, refusals %+v", n1.Findings, s.Refusals)
			}
			return nil
		})
	}
}

// A node is restored from an older state while nobody looks, and its log has grown over
// what it lost before anybody does. Nobody was fenced off from it: it is found by what the
// survivors had applied of it, stays found, is fenced off once the agents may, and refused
// by name. What it had sent to one survivor only, and lost, the other is given.
func TestWhoWentBackUnseenIsFencedOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	ctx, n1, backup := t.Context(), c.mesh.Node("n1"), filepath.Join(t.TempDir(), "backup")
	try := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	try(n1.Stop(ctx, localpg.Fast), n1.SaveData(backup), n1.Start(ctx), c.mesh.WaitStreaming(ctx))
	c.startAll()
	c.lag(20)
	r := &returns{cluster: c, n1: n1}
	r.observedAgain()
	c.told("n2", api.Pause, api.SteerRequest{Reason: "a restore"})
	for _, n := range c.mesh.Names() {
		c.eventually(n+" is paused", func() error {
			if s, err := c.status(n); err != nil || !s.Paused {
				return fmt.Errorf("not yet: %w", err)
			}
			return nil
		})
	}
	for _, n := range c.mesh.Names() {
		try(c.stop(n))
	}

	held := c.progress("n2", "n1")
	try(c.mesh.Kill(ctx, "n1"), n1.LoadData(backup), n1.Start(ctx))
	c.exec("n1", `INSERT INTO account VALUES (70001, 'n1', 1, 'under an LSN that n2 has passed')`)
	c.eventually("the log of n1 has grown over what it lost", func() error {
		c.exec("n1", `SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))`)
		if !value[bool](c, "n1", `SELECT pg_current_wal_flush_lsn() > $1::pg_lsn`, held) {
			return errors.New("not yet")
		}
		return nil
	})
	for _, n := range c.mesh.Names() {
		c.start(n)
	}
	c.found(c.mesh.Names()...)
	// From now on nothing on the server tells any more.
	c.exec("n1", `CHECKPOINT`)
	for _, n := range c.mesh.Names() {
		try(c.stop(n))
		c.start(n)
	}
	c.found(c.mesh.Names()...)
	c.leftovers(0, "n2", "n3")

	c.told("n2", api.Resume, api.SteerRequest{})
	c.refusedFor("n1", "behind_watermark")
	r.fenced()
	for _, n := range []string{"n2", "n3"} {
		c.eventually(n+" bars n1", func() error {
			if value[int64](c, n, `SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:bar:%:n1:behind_watermark:%'`) != 1 {
				return errors.New("not yet")
			}
			return nil
		})
	}
	c.equal("n2", "n3")
	if got := value[int64](c, "n3", `SELECT count(*) FROM entry WHERE region = 'n1'`); got == 0 {
		t.Error("n3 was given nothing of what n1 had sent to n2 and lost")
	}
	if n, ok := c.metric("n2", `healer_refusals{reason="behind_watermark",subject="n1"}`); !ok || n != 1 {
		t.Errorf("the refusal counts %v, %t", n, ok)
	}
}
