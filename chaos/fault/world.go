package fault

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// World is a cluster that faults are made in. What it cannot do is an ErrUnable.
type World interface {
	Nodes() []string
	// SQL runs statements on a node's database, as one who may do anything there.
	SQL(node string) Database
	Server(node string) (Server, error)
	Agent(node string) (Agent, error)
	// Wires are the ways of a layer from node to peer.
	Wires(layer Layer, node, peer string) ([]Wire, error)
	// Door is the one wire that a proxy of that name is, if it is one.
	Door(name string, layer Layer) (Wire, bool)
	Disk(node string) (Disk, error)
	// Subscription is the one with which node reads from peer; Slot the one on node
	// that feeds peer, or that is kept for its recovery.
	Subscription(node, peer string) string
	Slot(node, peer string, recovery bool) string
	// StreamLeader is the node whose agent leads the stream of events.
	StreamLeader(ctx context.Context) (string, error)
	// Command runs a program of the user's.
	Command(ctx context.Context, args []string) error
}

// Database runs SQL.
type Database interface {
	Exec(ctx context.Context, sql string) error
	// Texts is the first column of a query's rows, as text.
	Texts(ctx context.Context, sql string) ([]string, error)
}

// Server is a node's server.
type Server interface {
	// Kill ends every process at once, KillPostmaster the postmaster alone.
	Kill(ctx context.Context) error
	KillPostmaster(ctx context.Context) error
	// Stop shuts it down: fast or immediate.
	Stop(ctx context.Context, mode string) error
	// Start starts it, if it is down, and waits until it takes connections.
	Start(ctx context.Context) error
	Freeze(ctx context.Context) error
	Thaw()
	Running() bool
	// Signal sends a signal to one of its processes.
	Signal(pid int, s syscall.Signal) error
	// Stopped reports whether a process is stopped, or gone.
	Stopped(pid int) bool
	// Recovering reports whether it has begun to recover from a crash since the mark,
	// and takes no connections yet. Mark is now.
	Recovering(mark int64) bool
	Mark() int64
	// Save copies its data while it is down or frozen, Restore puts a copy in their
	// place while it is down.
	Save(name string) error
	Restore(name string) error
}

// Agent is a node's agent process.
type Agent interface {
	Kill()
	// Stop asks it to end, and waits.
	Stop(ctx context.Context) error
	Start() error
	Freeze(ctx context.Context) error
	Thaw()
	Running() bool
	// StepClock makes its clock go wrong by so much, 0 right again; Clock is what it
	// says the time is.
	StepClock(offset time.Duration) error
	Clock(ctx context.Context) (time.Time, error)
}

// Bend is what becomes of a wire.
type Bend struct {
	Cut      Way
	Delay    time.Duration
	Rate     int
	Refuse   bool
	HalfOpen bool
}

// Wire is one way from a client to a server, or between two hosts.
type Wire interface {
	Name() string
	// Bend makes a fault beside those that the wire has; undo ends this one alone.
	Bend(b Bend) (undo func() error, err error)
	// Reset resets the connections that exist, and counts them.
	Reset() (int, error)
	// Probe asks the other end for a sign of life, and waits for it this long.
	Probe(ctx context.Context, within time.Duration) (took time.Duration, err error)
}

// Disk is the file system that holds a node's data.
type Disk interface {
	// Fill leaves no byte; free gives all back.
	Fill() (free func() error, err error)
	// Left is how many bytes can still be written.
	Left() (uint64, error)
}

// ErrUnable is what a world says that cannot make a fault.
var ErrUnable = errors.New("this fault cannot be made here")

// ErrMoot is a fault that has nothing to strike: the connection, the process or the
// server is away already.
var ErrMoot = errors.New("there is nothing to strike")

// Unable says why a fault cannot be made, and what would help.
func Unable(reason, remedy string) error {
	return fmt.Errorf("%w: %s: %s", ErrUnable, reason, remedy)
}
