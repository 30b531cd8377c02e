package localpg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ports come from below the range that the kernel gives to outgoing connections
// (32768 and above on Linux), so none of those can sit on the port of a server
// that is down for a while.
const (
	firstPort = 20000
	lastPort  = 32000
)

var errNoPort = errors.New("no free TCP port")

// portLease holds a port against all other processes that use this package, also
// while nobody listens on it.
type portLease struct {
	port int
	file *os.File
}

func (l *portLease) release() {
	if l != nil {
		_ = l.file.Close()
	}
}

// leasePort picks a port that is free now and takes it out of the choice of
// others until it is released or this process ends. Programs that do not use
// this package may still take it: a server that finds it taken picks another.
func (c *cache) leasePort(ctx context.Context) (*portLease, error) {
	dir := filepath.Join(c.dir, "ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	const span = lastPort - firstPort
	start := rand.IntN(span)
	for i := range span {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		port := firstPort + (start+i)%span
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && portFree(ctx, port) {
			return &portLease{port: port, file: f}, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("%w between %d and %d", errNoPort, firstPort, lastPort)
}

func portFree(ctx context.Context, port int) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// LeaseAddr is an address on this machine that nobody who uses this package gets
// until release is called, also while nobody listens on it.
func LeaseAddr(ctx context.Context) (addr string, release func(), err error) {
	c, err := openCache(account{})
	if err != nil {
		return "", nil, err
	}
	lease, err := c.leasePort(ctx)
	if err != nil {
		return "", nil, err
	}
	return net.JoinHostPort(loopback, strconv.Itoa(lease.port)), lease.release, nil
}
