package attack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Side is a direction of the protocol.
type Side int

const (
	// Sent are the messages of the client.
	Sent Side = iota
	// Received are the messages of the server.
	Received
	sides
)

// Strike ends something when a connection has come to the message at which it is
// to be cut. The connection is closed when it returns.
type Strike func(w *Wire) error

// Plan says at which message of a connection to strike. The messages of one side
// are counted from 1, those with which the connection begins among them. At zero
// nothing is struck, and the messages are counted all the same.
type Plan struct {
	Side   Side
	At     int
	Strike Strike
}

// ErrCut is what the client gets from a connection that was cut.
var ErrCut = errors.New("the connection was cut")

// Wire is a client's connection to a server that knows the protocol's messages.
type Wire struct {
	*net.TCPConn
	plan Plan

	mu     sync.Mutex
	counts [sides]counter
	cut    error
}

// counter finds the ends of messages in a stream of bytes.
type counter struct {
	messages int
	// head is what has come of the next message's head, left what is missing
	// of its body.
	head []byte
	left int
	// bare is set while messages have no type: the client's first one.
	bare bool
}

// NewWire puts a Wire around a TCP connection on which nothing was said yet.
func NewWire(c net.Conn, plan Plan) (*Wire, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is no TCP connection", c)
	}
	w := &Wire{TCPConn: tcp, plan: plan}
	w.counts[Sent].bare = true
	return w, nil
}

// Messages is how many messages of a side have passed.
func (w *Wire) Messages(side Side) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[side].messages
}

// Struck reports whether the plan's moment has come; never on a wire that was not
// made.
func (w *Wire) Struck() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut != nil
}

// Write implements net.Conn.
func (w *Wire) Write(b []byte) (int, error) {
	pass, strike, err := w.measure(Sent, b)
	if err != nil {
		return 0, err
	}
	n, err := w.TCPConn.Write(b[:pass])
	if err != nil || !strike {
		return n, err
	}
	return n, w.strike()
}

// Read implements net.Conn. What the server sent after the message is lost.
func (w *Wire) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	pass, strike, cut := w.measure(Received, b[:n])
	if cut != nil {
		return 0, cut
	}
	if strike {
		return pass, w.strike()
	}
	return pass, err
}

// measure counts the messages in b and says how much of it passes, and whether
// the moment to strike is then. The moment comes once.
func (w *Wire) measure(side Side, b []byte) (pass int, strike bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut != nil {
		return 0, false, w.cut
	}
	at := 0
	if side == w.plan.Side {
		at = w.plan.At
	}
	pass = w.counts[side].count(b, at)
	if at > 0 && w.counts[side].messages == at {
		w.cut = ErrCut
		return pass, true, nil
	}
	return pass, false, nil
}

// count takes in bytes, up to the end of message limit when that is not zero, and
// returns how many.
func (c *counter) count(b []byte, limit int) (n int) {
	for n < len(b) {
		if c.left == 0 {
			c.head = append(c.head, b[n])
			n++
			if c.bare && len(c.head) == 4 {
				c.left = int(binary.BigEndian.Uint32(c.head)) - 4
			} else if len(c.head) == 5 {
				c.left = int(binary.BigEndian.Uint32(c.head[1:])) - 4
			} else {
				continue
			}
			c.head = c.head[:0]
		} else {
			take := min(c.left, len(b)-n)
			c.left -= take
			n += take
		}
		if c.left == 0 {
			c.bare = false
			if c.messages++; c.messages == limit {
				return n
			}
		}
	}
	return n
}

func (w *Wire) strike() error {
	err := ErrCut
	if w.plan.Strike != nil {
		if serr := w.plan.Strike(w); serr != nil {
			err = fmt.Errorf("%w; the strike failed: %w", ErrCut, serr)
		}
	}
	_ = w.TCPConn.Close()
	w.mu.Lock()
	w.cut = err
	w.mu.Unlock()
	return err
}

// Hangup ends the connection as the end of the client's process does, and waits
// until the server, having worked through all that it got, has closed its end.
func Hangup(w *Wire) error {
	if err := w.TCPConn.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, w.TCPConn)
	return err
}
