package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"healer/topology"
)

// ServerOptions say how one server is made. The zero value is good.
type ServerOptions struct {
	Name     string            // for logs and errors; "postgres" when empty
	Major    int               // 16, 17 or 18; 0 is the newest installed
	Dir      string            // where its directory is made; empty: a temporary place
	Database string            // made at the first start and named by DSN; "postgres" when empty
	Durable  bool              // fsync and full page writes on, as in production
	Scram    bool              // roles other than the superuser need a password
	Conf     map[string]string // settings that override the defaults
	Log      *slog.Logger      // nil discards
}

// Server is one PostgreSQL server with its data directory. Its methods may be
// called from several goroutines, a Kill during a Start included.
type Server struct {
	opts ServerOptions
	host *host
	dir  string // holds data and server.log
	work *workDir

	mu     sync.Mutex
	lease  *portLease
	pinned bool // somebody may have learnt the port: it does not change any more
	conf   map[string]string
	pm     *postmaster // the newest; nil before the first start
	frozen bool
	closed bool
}

// StopMode is a way to shut a server down.
type StopMode string

// The ways of pg_ctl stop.
const (
	// Smart waits until all clients have gone.
	Smart StopMode = "smart"
	// Fast ends the sessions, sends subscribers what they lack, and writes a
	// checkpoint. A subscriber that does not read makes it wait.
	Fast StopMode = "fast"
	// Immediate ends at once; the next start recovers from the WAL.
	Immediate StopMode = "immediate"
)

// signal is what the postmaster takes for the mode; false for an unknown one.
func (m StopMode) signal() (syscall.Signal, bool) {
	signal, ok := map[StopMode]syscall.Signal{
		Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT,
	}[m]
	return signal, ok
}

// ErrNotRunning is what needs a live server gets from one that is down.
var ErrNotRunning = errors.New("the server is not running")

// portTries is how often a first start picks another port when a foreign
// program took the one it had chosen.
const portTries = 5

// StartServer makes a server and starts it. Close ends it and removes its
// directory.
func StartServer(ctx context.Context, opts ServerOptions) (*Server, error) {
	h, err := newHost(ctx, ofMajor(opts.Major))
	if err != nil {
		return nil, err
	}
	work, err := newWorkDir(ctx, opts.Dir, h.acc)
	if err != nil {
		return nil, err
	}
	if opts.Name == "" {
		opts.Name = superuser
	}
	s, err := h.newServer(ctx, opts, work.path)
	if err != nil {
		work.remove()
		return nil, err
	}
	s.work = work
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// newServer makes the directory of a server and does not start it.
func (h *host) newServer(ctx context.Context, opts ServerOptions, base string) (*Server, error) {
	if opts.Database == "" {
		opts.Database = superuser
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, host: h, dir: filepath.Join(base, opts.Name)}
	if err := makeEmpty(s.dir); err != nil {
		return nil, fmt.Errorf("server %s: %w", opts.Name, err)
	}
	if err := s.create(ctx); err != nil {
		s.lease.release()
		return nil, errors.Join(fmt.Errorf("server %s: %w", opts.Name, err), os.RemoveAll(s.dir))
	}
	return s, nil
}

// makeEmpty makes a directory. It may be there already, empty: a file system of its own.
func makeEmpty(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if there, rerr := os.ReadDir(dir); rerr != nil || len(there) > 0 {
		return errors.Join(err, rerr)
	}
	return nil
}

func (s *Server) create(ctx context.Context) error {
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return err
	}
	if err := s.newCluster(s.DataDir()); err != nil {
		return err
	}
	s.conf = defaults(s.host.inst.Major, s.opts.Durable)
	maps.Copy(s.conf, s.opts.Conf)
	var err error
	s.lease, err = s.host.cache.leasePort(ctx)
	return err
}

// Name is the server's name.
func (s *Server) Name() string { return s.opts.Name }

// Major is the server's major version.
func (s *Server) Major() int { return s.host.inst.Major }

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// LogFile is where the server writes its log.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "server.log") }

// Port is the TCP port on 127.0.0.1. It stays from the first start to Close,
// also while the server is down.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease.port
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return fmt.Sprintf("%s:%d", loopback, s.Port()) }

// DSN is a keyword string for the server's database as superuser.
func (s *Server) DSN() string { return s.DSNFor(s.opts.Database) }

// DSNFor is a keyword string for another database of the server.
func (s *Server) DSNFor(database string) string { return conninfo(s.Port(), database) }

// Running reports whether the postmaster lives; a frozen one does.
func (s *Server) Running() bool {
	pm := s.postmaster()
	return pm != nil && pm.running()
}

func (s *Server) postmaster() *postmaster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pm
}

// Start starts a server that is not running and returns when it takes
// connections, or when the context ends. After a crash it waits for the old
// processes to go, and for recovery.
func (s *Server) Start(ctx context.Context) error {
	begin := time.Now()
	for try := 1; ; try++ {
		mark := s.logSize()
		err := s.startOnce(ctx)
		if err == nil {
			break
		}
		err = s.fault("start_failed", err)
		if try == portTries || ctx.Err() != nil || !s.portTaken(mark) || !s.movePort(ctx) {
			return err
		}
	}
	if err := s.createDatabase(ctx); err != nil {
		return s.fault("start_failed", err)
	}
	s.mu.Lock()
	s.pinned = true
	s.mu.Unlock()
	s.opts.Log.DebugContext(ctx, "server started", "server", s.Name(), "port", s.Port(), "took", time.Since(begin))
	return nil
}

func (s *Server) startOnce(ctx context.Context) error {
	if err := until(ctx, func() bool { return s.Running() || len(s.family()) == 0 }); err != nil {
		return fmt.Errorf("processes of the last run are still there: %w", err)
	}
	pm, err := s.launch()
	if err != nil {
		return err
	}
	if err := s.awaitReady(ctx, pm); err != nil {
		// A server that nobody knows to be up must not stay.
		s.killAnyway(ctx, pm)
		return err
	}
	return nil
}

// launch starts the postmaster.
func (s *Server) launch() (*postmaster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("the server was closed")
	case s.pm != nil && s.pm.running():
		return nil, errors.New("the server is running already")
	}
	s.clearStale()
	s.conf["port"] = fmt.Sprint(s.lease.port)
	if err := s.writeConf(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	pm, err := spawn(s.host.inst.program("postgres"), []string{"-D", s.DataDir()}, s.DataDir(), log, s.host.acc)
	if err != nil {
		return nil, err
	}
	s.pm = pm
	return pm, nil
}

func (s *Server) writeConf() error {
	if err := writeConf(s.DataDir(), s.conf); err != nil {
		return err
	}
	return s.host.acc.own(filepath.Join(s.DataDir(), "postgresql.conf"))
}

// awaitReady waits until the postmaster says in its pid file that it takes
// connections, and one has succeeded.
func (s *Server) awaitReady(ctx context.Context, pm *postmaster) error {
	for {
		select {
		case <-pm.done:
			return fmt.Errorf("postgres ended: %w", errors.Join(pm.err, ErrNotRunning))
		default:
		}
		if f := readPidFile(s.DataDir()); f != nil && f.pid == pm.pid && (f.status == "ready" || f.status == "standby") {
			if conn, err := connect(ctx, s.DSNFor(superuser)); err == nil {
				return conn.Close(ctx)
			}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("wait until it takes connections: %w", err)
		}
	}
}

// createDatabase makes the server's database where it is missing.
func (s *Server) createDatabase(ctx context.Context) error {
	if s.opts.Database == superuser {
		return nil
	}
	return s.CreateDatabase(ctx, s.opts.Database)
}

// clearStale removes what a killed server left: its pid file, and the System V
// segment that would else stay until the machine ends. Nobody of the family is
// alive when it is called.
func (s *Server) clearStale() {
	f := readPidFile(s.DataDir())
	if f == nil {
		return
	}
	if f.shmID >= 0 {
		_, _ = unix.SysvShmCtl(f.shmID, unix.IPC_RMID, nil)
	}
	_ = os.Remove(filepath.Join(s.DataDir(), pidFileName))
}

func (s *Server) family() []int { return family(s.host.inst.program("postgres"), s.DataDir()) }

// movePort takes another port as long as nobody can know the present one.
func (s *Server) movePort(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned {
		return false
	}
	lease, err := s.host.cache.leasePort(ctx)
	if err != nil {
		return false
	}
	s.lease.release()
	s.lease = lease
	return true
}

func (s *Server) portTaken(mark int64) bool {
	return strings.Contains(s.logSince(mark), "could not bind")
}

func (s *Server) logSize() int64 {
	info, err := os.Stat(s.LogFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (s *Server) logSince(mark int64) string {
	f, err := os.Open(s.LogFile())
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.NewSectionReader(f, mark, 1<<20))
	if err != nil {
		return ""
	}
	return string(data)
}

// LogTail returns the last n lines of the server's log.
func (s *Server) LogTail(n int) string {
	lines := strings.Split(strings.TrimRight(s.logSince(max(0, s.logSize()-1<<18)), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (s *Server) fault(code string, err error) error {
	if tail := s.LogTail(8); tail != "" && code == "start_failed" {
		err = fmt.Errorf("%w\n%s", err, tail)
	}
	return &topology.Fault{Class: topology.Permanent, Code: code, Node: s.Name(), Err: err}
}
