package probe

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long the kernel goes on sending what nobody acknowledges
// before it ends the connection (TCP_USER_TIMEOUT). It is longer than the detector
// keeps a probe, so that the detector decides and the kernel only tidies up.
const userTimeout = 60 * time.Second

// boundUnacknowledged sets the limit on a socket that is about to connect.
func boundUnacknowledged(network, _ string, c syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return nil
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, failed)
}

// unacknowledged reports whether bytes were sent that the other side's kernel has
// not acknowledged.
func unacknowledged(conn net.Conn) bool {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secured.NetConn() // under TLS
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		waiting = err == nil && info.Unacked > 0
	})
	return waiting
}
