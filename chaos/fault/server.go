package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// up starts the server, for as long as ctx lasts: right after a crash a start may find
// processes of the last run.
func up(s Server) func(context.Context) error {
	return func(ctx context.Context) error {
		if s.Running() {
			return nil
		}
		return s.Start(ctx)
	}
}

func serverKill(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	if err := s.Kill(ctx); err != nil {
		return err
	}
	return down(s, a)
}

func down(s Server, a *Active) error {
	if s.Running() {
		return errors.New("its server still runs")
	}
	a.Proof = "no process of the server is left"
	return nil
}

func postmasterKill(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	if err := s.KillPostmaster(ctx); err != nil {
		return err
	}
	a.Proof = "the postmaster is reaped"
	return nil
}

func serverStop(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	mode := f.Mode
	if mode == "" {
		mode = "fast"
	}
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return down(s, a)
}

func serverFreeze(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { s.Thaw(); return nil })
	if err := s.Freeze(ctx); err != nil { // it returns when all have stopped
		return err
	}
	a.Proof = "all of its processes are stopped"
	return nil
}

// crashTries bounds how often a recovery is tried to be met in the middle: it may take
// a few milliseconds only.
const crashTries = 20

func recoveryCrash(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	for try := range crashTries {
		if err := s.Kill(ctx); err != nil {
			return err
		}
		met, err := crashOnce(ctx, s)
		if err != nil {
			return err
		}
		if met {
			a.Proof = fmt.Sprintf("killed in the recovery of start %d", try+1)
			return nil
		}
	}
	return fmt.Errorf("none of %d recoveries lasted long enough to be met", crashTries)
}

// crashOnce starts the server and kills it as soon as it recovers; false when it was
// too late.
func crashOnce(ctx context.Context, s Server) (bool, error) {
	mark := s.Mark()
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	var start sync.WaitGroup
	ready := make(chan error, 1)
	start.Go(func() { ready <- s.Start(starting) })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	met := false
	for !met {
		select {
		case err := <-ready:
			return false, err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
			met = s.Recovering(mark)
		}
	}
	err := s.Kill(ctx)
	cancel()
	start.Wait()
	return err == nil, err
}

// storm is how often a storm restarts a server that does not say it.
const storm = 3

func restartStorm(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	times := f.Times
	if times == 0 {
		times = storm
	}
	for range times {
		if err := s.Stop(ctx, "immediate"); err != nil {
			return err
		}
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	a.Proof = fmt.Sprintf("%d starts have each taken a connection", times)
	return nil
}

// nodeKill kills server and agent side by side.
func nodeKill(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	g, err := w.Agent(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(func(context.Context) error { return start(g) })
	a.onHeal(up(s))
	var both sync.WaitGroup
	both.Go(g.Kill)
	err = s.Kill(ctx)
	both.Wait()
	if err != nil {
		return err
	}
	if g.Running() {
		return errors.New("its agent still runs")
	}
	err = down(s, a)
	a.Proof = "no process of server and agent is left"
	return err
}

// backupRestore copies the node's data as a snapshot of its disk does, waits until others
// have what came after, and puts the copy in place. It comes back when it is healed.
func backupRestore(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	if err := snapshot(ctx, s); err != nil {
		return err
	}
	db := w.SQL(f.Node)
	copied, err := end(ctx, db)
	if err != nil {
		return err
	}
	// It is written to again as soon as it is back: its log must not have grown to
	// where it was before anybody looks.
	if err := db.Exec(ctx, `select pg_logical_emit_message(false, 'healer chaos', repeat('x', `+fmt.Sprint(growth)+`))`); err != nil {
		return err
	}
	began, err := end(ctx, db)
	if err != nil {
		return err
	}
	var peer string
	if err := await(ctx, func() (err error) { peer, err = f.applied(ctx, w, began); return err }); err != nil {
		return err
	}
	if err := s.Kill(ctx); err != nil {
		return err
	}
	if err := s.Restore("backup"); err != nil {
		return err
	}
	a.Proof = fmt.Sprintf("its data ends before %s, and %s has applied what it committed behind %s", copied, peer, began)
	return nil
}

// growth is how many bytes a node's log is longer than that of its copy, at least.
const growth = 1 << 20

// snapshot copies what the server's disk has at one instant.
func snapshot(ctx context.Context, s Server) error {
	defer s.Thaw()
	if err := s.Freeze(ctx); err != nil {
		return err
	}
	return s.Save("backup")
}

func end(ctx context.Context, db Database) (string, error) {
	at, err := db.Texts(ctx, `select pg_current_wal_insert_lsn()::text`)
	if err == nil && len(at) != 1 {
		err = errors.New("the end of its log is not known")
	}
	if err != nil {
		return "", err
	}
	return at[0], nil
}

// applied is another node that has applied something that the fault's node committed
// behind an LSN.
func (f Fault) applied(ctx context.Context, w World, since string) (string, error) {
	errs := []error{fmt.Errorf("nobody has applied what %s committed behind %s: somebody must write there", f.Node, since)}
	for _, p := range f.others(w.Nodes()) {
		found, err := w.SQL(p).Texts(ctx, `select external_id from pg_replication_origin_status join pg_subscription s
			on external_id = 'pg_' || s.oid where subname = `+quote(w.Subscription(p, f.Node))+` and remote_lsn > '`+since+`'::pg_lsn`)
		if err == nil && len(found) > 0 {
			return p, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
