package fault

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pids finds the processes that a fault strikes: PostgreSQL says who they are.
func (f Fault) pids(ctx context.Context, w World) ([]int, error) {
	where := ""
	switch f.Process {
	case Backend:
		where = `backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'healer%' limit 1`
	case Walsender:
		where = `backend_type = 'walsender' and pid in (select active_pid from pg_replication_slots where ` + f.ofPeers(w, "slot_name",
			func(p string) string { return w.Slot(f.Node, p, false) }) + `) limit 1`
	case ApplyWorker:
		where = `pid in (select pid from pg_stat_subscription where ` + f.ofPeers(w, "subname",
			func(p string) string { return w.Subscription(f.Node, p) }) + `) limit 1`
	}
	var out []int
	err := await(ctx, func() error {
		texts, err := w.SQL(f.Node).Texts(ctx, `select pid::text from pg_stat_activity where `+where)
		if err != nil {
			return err
		}
		for _, t := range texts {
			pid, err := strconv.Atoi(t)
			if err != nil {
				return err
			}
			out = append(out, pid)
		}
		if len(out) == 0 {
			return fmt.Errorf("%s has no %s", f.Node, f.Process)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrMoot, err)
	}
	return out, err
}

// ofPeers is a condition on a name of each peer's.
func (f Fault) ofPeers(w World, column string, name func(peer string) string) string {
	var quoted []string
	for _, p := range f.others(w.Nodes()) {
		quoted = append(quoted, quote(name(p)))
	}
	return column + " in (" + strings.Join(quoted, ", ") + ")"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// findLimit bounds the search for a process: the next one may not have begun yet.
const findLimit = 3 * time.Second

func (f Fault) signal(ctx context.Context, w World, s syscall.Signal) ([]int, error) {
	server, err := w.Server(f.Node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	pids, err := f.pids(ctx, w)
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if err := server.Signal(pid, s); err != nil {
			return pids, err
		}
	}
	return pids, nil
}

func processKill(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	pids, err := f.signal(ctx, w, syscall.SIGKILL)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := await(ctx, func() error {
			if err := s.Signal(pid, 0); err == nil {
				return fmt.Errorf("process %d is still there", pid)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	a.Proof = fmt.Sprintf("process %d is gone", pids[0])
	return nil
}

func processFreeze(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	pids, err := f.signal(ctx, w, syscall.SIGSTOP)
	a.onHeal(func(context.Context) error {
		for _, pid := range pids {
			_ = s.Signal(pid, syscall.SIGCONT) // it may be gone
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, pid := range pids {
		// It stops when it runs next.
		if err := await(ctx, func() error {
			if !s.Stopped(pid) {
				return fmt.Errorf("process %d still runs", pid)
			}
			return s.Signal(pid, 0) // an error when it has ended instead
		}); err != nil {
			return err
		}
	}
	a.Proof = fmt.Sprintf("process %d is stopped", pids[0])
	return nil
}

func backendsTerminate(ctx context.Context, w World, f Fault, a *Active) error {
	ended, err := texts(ctx, w.SQL(f.Node), `with s as materialized (select pid from pg_stat_activity
			where backend_type = 'client backend' and pid <> pg_backend_pid() and datname = current_database())
		select pid::text from s where pg_terminate_backend(pid)`)
	if err != nil {
		return err
	}
	if len(ended) == 0 {
		return fmt.Errorf("%w: there was no session to end", ErrMoot)
	}
	a.Proof = fmt.Sprintf("%d sessions were ended", len(ended))
	return nil
}

// texts asks until the server answers, for as long as one may take to recover from a
// crash.
func texts(ctx context.Context, db Database, sql string) (got []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	if err := await(ctx, func() error { got, err = db.Texts(ctx, sql); return err }); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMoot, err)
	}
	return got, nil
}

// slotDrop drops a slot, and whoever uses it.
func slotDrop(ctx context.Context, w World, f Fault, a *Active) error {
	var names []string
	switch f.Slot {
	case "recovery", "mesh":
		for _, p := range f.others(w.Nodes()) {
			names = append(names, quote(w.Slot(f.Node, p, f.Slot == "recovery")))
		}
	default:
		names = append(names, quote(f.Slot))
	}
	db, in := w.SQL(f.Node), `slot_name in (`+strings.Join(names, ", ")+`)`
	dropped := 0
	err := await(ctx, func() error {
		if err := db.Exec(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots where active and `+in); err != nil {
			return err
		}
		gone, err := db.Texts(ctx, `select pg_drop_replication_slot(slot_name)::text from pg_replication_slots where not active and `+in)
		if err != nil {
			return err
		}
		if dropped += len(gone); dropped < len(names) {
			return fmt.Errorf("%d of %d slots were dropped", dropped, len(names))
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.Proof = fmt.Sprintf("%d slots were there and are dropped", dropped)
	return nil
}

func subscriptionDisable(ctx context.Context, w World, f Fault, a *Active) error {
	names := []string{f.Subscription}
	if f.Subscription == "" {
		names = nil
		for _, p := range f.others(w.Nodes()) {
			names = append(names, w.Subscription(f.Node, p))
		}
	}
	db := w.SQL(f.Node)
	for _, name := range names {
		was, err := texts(ctx, db, `select subenabled::text from pg_subscription where subname = `+quote(name))
		if err != nil {
			return err
		}
		if len(was) != 1 || was[0] != "true" {
			return fmt.Errorf("%w: subscription %s of %s is not there or not enabled", ErrMoot, name, f.Node)
		}
		a.onHeal(func(ctx context.Context) error { return enable(ctx, db, name) })
		if err := db.Exec(ctx, `alter subscription `+identifier(name)+` disable`); err != nil {
			return err
		}
	}
	a.Proof = fmt.Sprintf("the catalog says that %d subscriptions are disabled", len(names))
	return nil
}

// enable enables a subscription, unless it was fenced off meanwhile: then it is
// Healer's, who enables it when the other node is taken back.
func enable(ctx context.Context, db Database, name string) error {
	return db.Exec(ctx, `do $$ begin
		if not exists (select from pg_subscription s join pg_replication_origin o
			on o.roname like 'healer:fence:%:' || s.oid || ':%' where s.subname = `+quote(name)+`) then
			alter subscription `+identifier(name)+` enable;
		end if; end $$`)
}
