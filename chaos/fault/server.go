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

func backupRestore(ctx context.Context, w World, f Fault, a *Active) error {
	s, err := w.Server(f.Node)
	if err != nil {
		return err
	}
	a.onHeal(up(s))
	if err := s.Stop(ctx, "fast"); err != nil {
		return err
	}
	if err := s.Save("backup"); err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	db := w.SQL(f.Node)
	began, err := end(ctx, db)
	if err != nil {
		return err
	}
	// What the others must have seen of it, that it will not know of.
	if err := await(ctx, func() error { return grown(ctx, db, began) }); err != nil {
		return err
	}
	if err := s.Kill(ctx); err != nil {
		return err
	}
	if err := s.Restore("backup"); err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	now, err := db.Texts(ctx, `select (pg_current_wal_flush_lsn() < '`+began+`'::pg_lsn + `+fmt.Sprint(growth)+`)::text`)
	if err != nil {
		return err
	}
	if len(now) != 1 || now[0] != "true" {
		return errors.New("its log goes on where it had ended")
	}
	a.Proof = "its log has forgotten what came after " + began
	return nil
}

// growth is how many bytes of log a node writes, and has sent, before it is rewound.
const growth = 64 << 10

func end(ctx context.Context, db Database) (string, error) {
	at, err := db.Texts(ctx, `select pg_current_wal_flush_lsn()::text`)
	if err != nil || len(at) != 1 {
		return "", errors.Join(err, errors.New("the end of its log is not known"))
	}
	return at[0], nil
}

// grown is an error until every walsender of the mesh has confirmed that much more.
func grown(ctx context.Context, db Database, since string) error {
	behind, err := db.Texts(ctx, `select slot_name::text from pg_replication_slots
		where slot_type = 'logical' and active and confirmed_flush_lsn < '`+since+`'::pg_lsn + `+fmt.Sprint(growth))
	if err == nil && len(behind) > 0 {
		err = fmt.Errorf("%v have not confirmed what it wrote", behind)
	}
	return err
}
