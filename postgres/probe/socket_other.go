//go:build !linux

package probe

import (
	"net"
	"syscall"
)

// boundUnacknowledged does nothing where TCP_USER_TIMEOUT is not known.
func boundUnacknowledged(string, string, syscall.RawConn) error { return nil }

// unacknowledged is not known: a silent host then looks like a hung server, until
// a new connection to it is tried.
func unacknowledged(net.Conn) bool { return false }
