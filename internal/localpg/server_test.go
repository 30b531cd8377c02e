package localpg

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

func TestServerSettings(t *testing.T) {
	s := startServer(t, ServerOptions{Conf: map[string]string{"work_mem": "3MB", "application_name": "it's"}})
	for setting, want := range map[string]string{
		"wal_level": "logical", "track_commit_timestamp": "on", "fsync": "off",
		"max_slot_wal_keep_size": "-1", "work_mem": "3MB", "listen_addresses": "127.0.0.1",
	} {
		if got := ask[string](t, s, `select current_setting($1)`, setting); got != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
	durable := startServer(t, ServerOptions{Durable: true})
	if got := ask[string](t, durable, `show fsync`); got != "on" {
		t.Errorf("a durable server has fsync = %s", got)
	}
	s.SetConf("work_mem", "5MB")
	must(t, s.Reload())
	must(t, until(limit(t), func() bool { return ask[string](t, s, `show work_mem`) == "5MB" }))
}

func TestServerRunsAsAnotherUserThanRoot(t *testing.T) {
	s := startServer(t, ServerOptions{})
	info, err := os.Stat("/proc/" + itoa(s.postmaster().pid))
	must(t, err)
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid == 0 {
		t.Error("a backend runs as root")
	}
	if info, err = os.Stat(s.DataDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}
}

func TestKillAndStartAgain(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{Database: "app"})
	port := s.Port()
	_, err := s.Exec(ctx, `create table t (id int); insert into t values (1)`)
	must(t, err)
	conn, err := s.Connect(ctx)
	must(t, err)
	defer func() { _ = conn.Close(ctx) }()

	must(t, s.Kill(ctx))
	if s.Running() || len(s.family()) != 0 {
		t.Fatalf("after Kill: running %v, processes %v", s.Running(), s.family())
	}
	if err := conn.Ping(ctx); err == nil {
		t.Error("a session outlived its server")
	}
	if _, err := s.Connect(ctx); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect to a killed server: %v", err)
	}
	must(t, s.Kill(ctx)) // again is no error
	must(t, s.Start(ctx))
	if s.Port() != port {
		t.Errorf("port %d, was %d", s.Port(), port)
	}
	if n := ask[int](t, s, `select count(*) from t`); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if err := s.Start(ctx); err == nil || !s.Running() {
		t.Errorf("Start of a running server: %v, running %v", err, s.Running())
	}
}

// After a crash the number of the old postmaster may be another process's, and
// PostgreSQL would take that one for the owner of the directory.
func TestStartAfterAKillWhosePIDWasTakenAgain(t *testing.T) {
	ctx, s, other := limit(t), startServer(t, ServerOptions{}), startServer(t, ServerOptions{})
	pidFile := s.DataDir() + "/" + pidFileName
	lines, err := os.ReadFile(pidFile)
	must(t, err)
	must(t, s.Kill(ctx))
	_, rest, _ := strings.Cut(string(lines), "\n")
	must(t, os.WriteFile(pidFile, []byte(itoa(other.postmaster().pid)+"\n"+rest), 0o600))
	must(t, s.Start(ctx))
}

func TestKillPostmaster(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	must(t, s.KillPostmaster(ctx))
	if s.Running() {
		t.Error("running after the postmaster's death")
	}
	if err := s.KillPostmaster(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a second time: %v, want ErrNotRunning", err)
	}
	must(t, s.Start(ctx)) // waits for the orphans
	if got := ask[int](t, s, `select 1`); got != 1 {
		t.Error(got)
	}
}

func TestStopModes(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	for mode, want := range map[StopMode]string{
		Smart: "database system was shut down", Fast: "database system was shut down",
		Immediate: "database system was interrupted",
	} {
		mark := s.logSize()
		must(t, s.Restart(ctx, mode))
		if log := s.logSince(mark); !strings.Contains(log, want) {
			t.Errorf("%s: %q is not in the log:\n%s", mode, want, log)
		}
	}
	if err := s.Stop(ctx, "gentle"); err == nil {
		t.Error("an unknown mode is taken")
	}
	must(t, s.Stop(ctx, Fast))
	must(t, s.Stop(ctx, Fast)) // again is no error
	if len(s.family()) != 0 {
		t.Errorf("processes %v after Stop", s.family())
	}
}

func TestFreezeAndThaw(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	conn, err := s.Connect(ctx)
	must(t, err)
	defer func() { _ = conn.Close(ctx) }()
	must(t, s.Freeze(ctx))
	must(t, s.Freeze(ctx)) // again is no error
	for _, pid := range s.family() {
		if !stopped(pid) {
			t.Errorf("process %d is in state %c", pid, ProcessState(pid))
		}
	}
	if !s.Running() {
		t.Error("a frozen server does not count as running")
	}
	// The kernel still takes connections for it; nothing answers in them.
	raw, err := net.Dial("tcp", s.Addr())
	must(t, err)
	must(t, raw.Close())
	answered := make(chan error, 1)
	go func() { answered <- conn.Ping(ctx) }()
	for _, pid := range s.family() {
		if !stopped(pid) {
			t.Errorf("process %d woke for a query", pid)
		}
	}
	select {
	case err := <-answered:
		t.Fatalf("a frozen server answered: %v", err)
	default:
	}
	s.Thaw()
	must(t, <-answered) // the session is the one from before
	s.Thaw()            // again is no error

	must(t, s.Freeze(ctx))
	must(t, s.Kill(ctx))
	must(t, s.Start(ctx))
	must(t, s.Freeze(ctx))
	must(t, s.Stop(ctx, Fast))
}

func TestKillDuringStart(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	for range 5 {
		must(t, s.Kill(ctx))
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Start(ctx) }) // either outcome is right
		wg.Go(func() {
			if err := s.Kill(ctx); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if !s.Running() {
			must(t, s.Start(ctx))
		}
		if got := ask[int](t, s, `select 1`); got != 1 {
			t.Error(got)
		}
	}
}

func TestFirstStartMovesAwayFromATakenPort(t *testing.T) {
	ctx := limit(t)
	h, err := newHost(ctx, ofMajor(0))
	must(t, err)
	work, err := newWorkDir(ctx, "", h.acc)
	must(t, err)
	defer work.remove()
	s, err := h.newServer(ctx, ServerOptions{Name: "s"}, work.path)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	foreign, err := net.Listen("tcp", s.Addr())
	must(t, err)
	defer func() { _ = foreign.Close() }()
	taken := s.Port()
	must(t, s.Start(ctx))
	if s.Port() == taken {
		t.Error("the server shares a port")
	}
}

func TestRestartDoesNotMoveAwayFromATakenPort(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	must(t, s.Kill(ctx))
	foreign, err := net.Listen("tcp", s.Addr())
	must(t, err)
	var fault *topology.Fault
	if err := s.Start(ctx); !errors.As(err, &fault) || fault.Code != "start_failed" || !strings.Contains(err.Error(), "could not bind") {
		t.Errorf("error %v, want start_failed with the server's own words", err)
	}
	must(t, foreign.Close())
	must(t, s.Start(ctx))
}

func TestStartIsBounded(t *testing.T) {
	s := startServer(t, ServerOptions{})
	must(t, s.Kill(limit(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if s.Running() || len(s.family()) != 0 {
		t.Errorf("a start that failed left processes %v", s.family())
	}
}

func TestWrongSettingIsReportedInTheServersWords(t *testing.T) {
	_, err := StartServer(limit(t), ServerOptions{Conf: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error %v does not name the setting", err)
	}
}

func TestScram(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{Scram: true})
	_, err := s.Exec(ctx, `create role healer login password 'right'`)
	must(t, err)
	dsn := strings.Replace(s.DSN(), "user=postgres", "user=healer", 1)
	conn, err := connect(ctx, dsn+" password=right")
	must(t, err)
	must(t, conn.Close(ctx))
	_, err = connect(ctx, dsn+" password=wrong")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("a wrong password: %v, want 28P01", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	for _, before := range []struct {
		name string
		do   func(context.Context, *Server) error
	}{
		{"running", func(context.Context, *Server) error { return nil }},
		{"frozen", func(ctx context.Context, s *Server) error { return s.Freeze(ctx) }},
		{"killed", func(ctx context.Context, s *Server) error { return s.Kill(ctx) }},
		{"stopped", func(ctx context.Context, s *Server) error { return s.Stop(ctx, Fast) }},
	} {
		t.Run(before.name, func(t *testing.T) {
			ctx := limit(t)
			s, err := StartServer(ctx, ServerOptions{})
			must(t, err)
			segment := readPidFile(s.DataDir()).shmID
			must(t, before.do(ctx, s))
			must(t, s.Close())
			must(t, s.Close()) // again is no error
			if pids := s.family(); len(pids) != 0 {
				t.Errorf("processes %v are left", pids)
			}
			if _, err := os.Stat(s.work.path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory is left: %v", err)
			}
			// The kernel keeps a removed segment until the last process has let go.
			for segmentExists(t, segment) {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("the shared memory segment %d is left", segment)
				}
			}
			if err := s.Start(ctx); err == nil {
				t.Error("a closed server starts")
			}
		})
	}
}

// segmentExists looks for a System V segment of this id.
func segmentExists(t *testing.T, id int) bool {
	t.Helper()
	if id < 0 {
		t.Fatal("the server has told no segment")
	}
	table, err := os.ReadFile("/proc/sysvipc/shm")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == itoa(id) {
			return true
		}
	}
	return false
}

func TestDirectoryGiven(t *testing.T) {
	// Not t.TempDir, whose parent other users may not enter.
	base, err := os.MkdirTemp(scratchBase(), "localpg-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755))
	must(t, os.WriteFile(base+"/mine", nil, 0o644))
	s, err := StartServer(limit(t), ServerOptions{Name: "x", Dir: base})
	must(t, err)
	if want := base + "/x/data"; s.DataDir() != want {
		t.Errorf("data directory %s, want %s", s.DataDir(), want)
	}
	if _, err := StartServer(limit(t), ServerOptions{Name: "x", Dir: base}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second server in one place: %v", err)
	}
	must(t, s.Close())
	left, err := os.ReadDir(base)
	must(t, err)
	if len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left in a directory that was there before: %v", left)
	}
}

func TestSaveRestoreReinit(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{Database: "app"})
	backup := s.dir + "/backup"
	if err := s.Save(backup); !errors.Is(err, errRunning) {
		t.Errorf("Save of a running server: %v", err)
	}
	const identity = `select system_identifier::text from pg_control_system()`
	before := ask[string](t, s, identity)
	_, err := s.Exec(ctx, `create table t (id int)`)
	must(t, err)
	must(t, s.Freeze(ctx))
	must(t, s.Save(backup))
	s.Thaw()
	_, err = s.Exec(ctx, `insert into t select generate_series(1, 10000)`) // more than a crash recovery writes
	must(t, err)
	late := ask[string](t, s, `select pg_current_wal_lsn()::text`)
	must(t, s.Stop(ctx, Fast))
	must(t, s.Restore(backup))
	must(t, s.Start(ctx))
	if n := ask[int](t, s, `select count(*) from t`); n != 0 {
		t.Errorf("%d rows after the restore, want 0", n)
	}
	if got := ask[string](t, s, identity); got != before {
		t.Errorf("identifier %s after the restore, was %s", got, before)
	}
	if !ask[bool](t, s, `select pg_current_wal_lsn() < $1::pg_lsn`, late) {
		t.Error("the restored server does not write LSNs again")
	}
	must(t, s.Kill(ctx))
	must(t, s.Reinit())
	must(t, s.Start(ctx))
	if got := ask[string](t, s, identity); got == before {
		t.Error("the identifier outlived Reinit")
	}
	if ask[bool](t, s, `select to_regclass('t') is not null`) {
		t.Error("a table outlived Reinit")
	}
}

func TestForkTimeline(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{Database: "app"})
	_, err := s.Exec(ctx, `select pg_create_logical_replication_slot('kept', 'pgoutput')`)
	must(t, err)
	// The control file tells the timeline of the last checkpoint, WAL names that
	// of now.
	const timeline = `select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`
	if got := ask[string](t, s, timeline); got != "00000001" {
		t.Fatalf("timeline %s at first", got)
	}
	must(t, s.ForkTimeline(ctx))
	if got := ask[string](t, s, timeline); got != "00000002" {
		t.Errorf("timeline %s after the fork", got)
	}
	if n := ask[int](t, s, `select count(*) from pg_replication_slots where slot_name = 'kept'`); n != 1 {
		t.Error("the slot is gone")
	}
}

func TestDropDatabase(t *testing.T) {
	ctx, s := limit(t), startServer(t, ServerOptions{})
	must(t, s.CreateDatabase(ctx, "Some Base"))
	must(t, s.CreateDatabase(ctx, "Some Base")) // again is no error
	conn, err := connect(ctx, s.DSNFor("Some Base"))
	must(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `select pg_create_logical_replication_slot('s', 'pgoutput')`)
	must(t, err)
	_, err = conn.Exec(ctx, `create subscription sub connection 'host=127.0.0.1 port=1' publication p with (connect = false)`)
	must(t, err)
	must(t, s.DropDatabase(ctx, "Some Base"))
	must(t, s.DropDatabase(ctx, "Some Base")) // again is no error
	if n := ask[int](t, s, `select (select count(*) from pg_replication_slots) + (select count(*) from pg_subscription) + (select count(*) from pg_database where datname = 'Some Base')`); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

func TestSweepTakesOnlyWhatNobodyOwns(t *testing.T) {
	ctx, base := limit(t), t.TempDir()
	dead, alive, young := base+"/"+workPrefix+"dead", base+"/"+workPrefix+"alive", base+"/"+workPrefix+"young"
	for _, dir := range []string{dead, alive, young} {
		must(t, os.Mkdir(dir, 0o755))
	}
	free, err := own(ctx, dead)
	must(t, err)
	free()
	free, err = own(ctx, alive)
	must(t, err)
	defer free()
	var released []string
	sweep(base, workPrefix, func(dir string) { released = append(released, dir) })
	if !slices.Equal(released, []string{dead}) {
		t.Errorf("released were %v, want %s", released, dead)
	}
	for dir, want := range map[string]bool{dead: false, alive: true, young: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want kept %v", dir, err, want)
		}
	}
}
