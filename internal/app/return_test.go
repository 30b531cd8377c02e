package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"healer/api"
	"healer/internal/cli"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/nodes"
)

// A node that returns as another, or without what the mesh needs of it, is
// refused by name and stays fenced off. Each case is a real server in n1's place.
func TestReturnIsRefusedByName(t *testing.T) {
	t.Parallel()
	all := []returned{replaced, promoted, slotLost, slotDropped, restored, rebuilt}
	for major, cases := range map[int][]returned{18: all, 17: {restored}, 16: {promoted}} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			r := newReturns(t, major)
			for _, c := range cases {
				c(r)
			}
		})
	}
}

// returned is a case; it finds n1 down and leaves it down.
type returned func(*returns)

// returns is a cluster that has lost n1, and what n1 may come back as.
type returns struct {
	*cluster
	n1 *localpg.Server
	// truth is n1's data when it was killed, backup an older cold copy of it,
	// standby that of a standby which did not get n1's last transactions.
	truth, backup, standby string
}

func newReturns(t *testing.T, major int) *returns {
	ctx, dir := t.Context(), t.TempDir()
	r := &returns{
		cluster: newCluster(t, localpg.Options{Major: major}, nil),
		truth:   filepath.Join(dir, "truth"), backup: filepath.Join(dir, "backup"), standby: filepath.Join(dir, "standby"),
	}
	r.cfg.Detection.FlapAfter = 1000 // n1 comes and goes here as no node should
	r.n1 = r.mesh.Node("n1")
	r.must(r.n1.Stop(ctx, localpg.Fast), r.n1.SaveData(r.backup), r.n1.Start(ctx))
	r.must(r.mesh.WaitStreaming(ctx))
	r.startAll()

	standby := pgtest.Server(t, localpg.ServerOptions{Name: "standby", Major: major})
	r.must(standby.Stop(ctx, localpg.Fast), standby.LoadData(r.backup), standby.BeStandby())
	standby.SetConf("primary_conninfo", r.n1.DSNFor("postgres"))
	r.must(standby.Start(ctx))
	r.exec("n1", `INSERT INTO account SELECT i, 'n1', i FROM generate_series(1, 1000) i`)
	at := value[string](r.cluster, "n1", `SELECT pg_current_wal_flush_lsn()::text`)
	r.eventually("the standby has replayed this", func() error {
		got, err := localpg.Value[bool](ctx, standby, `SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn`, at)
		if err == nil && !got {
			err = errors.New("not yet")
		}
		return err
	})
	r.must(standby.Stop(ctx, localpg.Fast), standby.SaveData(r.standby))

	// What backup and standby do not have, and every survivor has.
	r.gap(50)
	r.caughtUp()
	r.must(r.mesh.Kill(ctx, "n1"), r.n1.SaveData(r.truth))
	r.recovered("n2", "n1", "n2", "n3")
	return r
}

func (r *returns) must(errs ...error) {
	r.t.Helper()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
}

// refused waits until the agent that acts refuses n1 for that reason, and names the
// remedy.
func (r *returns) refused(reason string) {
	r.t.Helper()
	r.eventually("n1 is refused: "+reason, func() error {
		var all []api.Refusal
		for _, n := range r.mesh.Names() {
			s, err := r.status(n)
			if err != nil {
				return err
			}
			all = append(all, s.Refusals...)
		}
		for _, f := range all {
			if f.Subject == "n1" && f.Reason == reason && strings.HasPrefix(f.Remedy, "healer node rebuild n1") {
				return nil
			}
		}
		return fmt.Errorf("refusals %+v", all)
	})
	r.fenced()
}

// fenced wants the survivors to read nothing from n1.
func (r *returns) fenced() {
	r.t.Helper()
	for _, n := range []string{"n2", "n3"} {
		if value[bool](r.cluster, n, `SELECT subenabled FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName(n, "n1")) {
			r.t.Errorf("%s reads from n1 again", n)
		}
	}
}

// observedAgain waits until every agent has looked at the mesh twice more.
func (r *returns) observedAgain() {
	r.t.Helper()
	for _, n := range r.mesh.Names() {
		first, err := r.status(n)
		r.must(err)
		last := first.At
		for range 2 {
			r.eventually(n+" observes again", func() error {
				s, err := r.status(n)
				if err == nil && !s.At.After(last) {
					return errors.New("not yet")
				}
				last = s.At
				return err
			})
		}
	}
}

func (r *returns) kill() {
	r.t.Helper()
	r.must(r.mesh.Kill(context.Background(), "n1"))
	r.eventually("the agents know that n1 is lost again", func() error {
		s, err := r.status("n2")
		for _, n := range s.Nodes {
			if n.Name == "n1" && n.Life != "failed" {
				err = fmt.Errorf("n1 is %s", n.Life)
			}
		}
		return err
	})
}

// replaced: another server, of another system identifier, at n1's address.
func replaced(r *returns) {
	r.t.Helper()
	ctx := r.t.Context()
	other := pgtest.Server(r.t, localpg.ServerOptions{Name: "other", Major: r.n1.Major()})
	dir := filepath.Join(r.t.TempDir(), "other")
	r.must(other.Stop(ctx, localpg.Fast), other.SaveData(dir), r.n1.LoadData(dir), r.n1.Start(ctx))
	r.refused("identity_changed")
	r.kill()
}

// promoted: n1's standby took its place, without n1's last transactions.
func promoted(r *returns) {
	r.t.Helper()
	ctx := r.t.Context()
	r.must(r.n1.LoadData(r.standby), r.n1.BeStandby(), r.n1.Start(ctx))
	r.exec("n1", `SELECT pg_promote()`)
	r.refused("timeline_forked")
	r.kill()
}

// slotLost: n2 could not keep what n1 has not read.
func slotLost(r *returns) {
	r.t.Helper()
	n2 := r.mesh.Node("n2")
	slot, other := localpg.SubscriptionName("n1", "n2"), localpg.SubscriptionName("n3", "n2")
	for range 4 {
		r.exec("n2", `SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000)), pg_switch_wal()`)
	}
	end := value[string](r.cluster, "n2", `SELECT pg_current_wal_flush_lsn()::text`)
	r.eventually("n3 needs none of that", func() error {
		r.exec("n2", `SELECT pg_log_standby_snapshot()`)
		r.exec("n2", `SELECT pg_logical_emit_message(true, 'test', '')`)
		if !value[bool](r.cluster, "n2", `SELECT restart_lsn >= $1::pg_lsn FROM pg_replication_slots WHERE slot_name = $2`, end, other) {
			return fmt.Errorf("slot %s is behind %s", other, end)
		}
		return nil
	})
	n2.SetConf("max_slot_wal_keep_size", "1MB")
	r.must(n2.Reload())
	r.eventually("n2 removes the WAL for n1", func() error {
		r.exec("n2", `CHECKPOINT`)
		if s := value[string](r.cluster, "n2", `SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1`, slot); s != "lost" {
			return fmt.Errorf("wal_status of slot %s is %s", slot, s)
		}
		return nil
	})
	n2.SetConf("max_slot_wal_keep_size", "-1")
	r.must(n2.Reload(), r.n1.LoadData(r.truth), r.n1.Start(r.t.Context()))
	r.refused("rejoin_slot_lost")
	r.kill()
}

// slotDropped: somebody dropped the slot that fed n1.
func slotDropped(r *returns) {
	r.t.Helper()
	r.exec("n2", `SELECT pg_drop_replication_slot($1)`, localpg.SubscriptionName("n1", "n2"))
	r.must(r.n1.LoadData(r.truth), r.n1.Start(r.t.Context()))
	r.refused("rejoin_slot_missing")
	r.kill()
}

// restored: n1 from an older backup. Its log grows beyond what the survivors have
// applied, with other transactions under the same LSNs; it stays refused.
func restored(r *returns) {
	r.t.Helper()
	r.must(r.n1.LoadData(r.backup), r.n1.Start(r.t.Context()))
	r.refused("behind_watermark")
	w := r.progress("n2", "n1")
	r.eventually("the log of n1 has grown beyond the watermark", func() error {
		r.exec("n1", `SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))`)
		if !value[bool](r.cluster, "n1", `SELECT pg_current_wal_flush_lsn() > $1::pg_lsn`, w) {
			return errors.New("not yet")
		}
		return nil
	})
	r.observedAgain()
	r.refused("behind_watermark")
	r.must(r.n1.Restart(r.t.Context(), localpg.Immediate))
	r.observedAgain()
	r.refused("behind_watermark")
	r.kill()
}

// rebuilt: what is refused is filled from a survivor while the agents run and the
// survivors write, and is taken back by them. It leaves n1 up.
func rebuilt(r *returns) {
	r.t.Helper()
	ctx := r.t.Context()
	r.must(r.n1.LoadData(r.backup), r.n1.Start(ctx))
	r.refused("behind_watermark")
	var file, say strings.Builder
	fmt.Fprintf(&file, "cluster: %s\nnodes:\n", r.cfg.Cluster)
	for _, n := range r.cfg.Nodes {
		fmt.Fprintf(&file, "  - {name: %s, dsn: %q, gossip: %q, api: %q, nats: {client: %q, cluster: %q}}\n",
			n.Name, n.DSN, n.Gossip, n.API, n.NATS.Client, n.NATS.Cluster)
	}
	path := filepath.Join(r.t.TempDir(), "healer.yaml")
	r.must(os.WriteFile(path, []byte(file.String()), 0o600))
	stop := r.write("n2")
	code := cli.App{
		Stdin: strings.NewReader("n1\n"), Stdout: &say, Stderr: &say, NodeCommands: nodes.Commands(nil),
	}.Run(ctx, []string{"node", "rebuild", "n1", "--config", path, "--wipe", "--catch-up-limit", waitLimit.String()})
	if code != 0 {
		r.t.Fatalf("exit code %d\n%s", code, &say)
	}
	written := stop()
	r.rejoined("n1")
	for _, n := range r.mesh.Names() {
		r.exec(n, `INSERT INTO account SELECT max(id) + 1, $1, 1, 'after' FROM account`, n)
		r.eventually("everybody has the row of "+n, func() error {
			for _, to := range r.mesh.Names() {
				if r.rows(to) != r.rows(n) {
					return fmt.Errorf("%s and %s differ", to, n)
				}
			}
			return nil
		})
	}
	if got := value[int64](r.cluster, "n1", `SELECT count(*) FROM entry WHERE region = 'n2'`); got != written {
		r.t.Errorf("n1 has %d of %d transactions of n2", got, written)
	}
}
