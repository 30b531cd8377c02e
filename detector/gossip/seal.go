package gossip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// How memberlist 0.7 seals what it sends (its net.go and security.go): a packet
// is version, nonce, ciphertext, with the label as additional data; a stream is
// one frame of encryptMsg, length and the same, with frame header and label as
// additional data. The guard opens both in order to know who is there, and
// leaves the work itself to memberlist.
const (
	sealVersion    = 1  // AES-GCM without padding
	encryptMsg     = 10 // the type of a sealed frame
	frameHeader    = 5  // its type and length
	nonceSize      = 12
	maxFrame       = 20 << 20 // memberlist's own limit
	msgpackMapMask = 0xf0
	msgpackMap     = 0x80
)

// opens reports whether sealed was sealed with one of the current keys.
func (k *keyring) opens(sealed, additional []byte) bool {
	if len(sealed) < 1+nonceSize || sealed[0] != sealVersion {
		return false
	}
	nonce, text := sealed[1:1+nonceSize], sealed[1+nonceSize:]
	for _, gcm := range *k.open.Load() {
		if _, err := gcm.Open(nil, nonce, text, additional); err == nil {
			return true
		}
	}
	return false
}

// packet is why a packet below its label is refused; empty when it is not.
func (k *keyring) packet(buf []byte, label string) Reason {
	switch {
	case k == nil && sealedPacket(buf):
		return Encrypted
	case k == nil || k.opens(buf, []byte(label)):
		return ""
	case sealedPacket(buf):
		return WrongKey
	default:
		return NotEncrypted
	}
}

// sealedPacket reports whether the packet looks sealed. Version 1 is also the
// type of an indirect ping, behind which a map follows: of sixteen sealed packets
// one passes for that, and means nothing to memberlist then.
func sealedPacket(buf []byte) bool {
	return len(buf) > 1+nonceSize && buf[0] == sealVersion && buf[1]&msgpackMapMask != msgpackMap
}

// stream reads the first frame of a stream and returns a connection that gives
// it again, or why it is refused. An error is the connection's own.
func (k *keyring) stream(conn net.Conn, label string) (net.Conn, Reason, error) {
	head := make([]byte, frameHeader)
	if _, err := io.ReadFull(conn, head[:1]); err != nil {
		return nil, "", err
	}
	switch sealed := head[0] == encryptMsg; {
	case k == nil && sealed:
		return nil, Encrypted, nil
	case k == nil:
		return &replay{Conn: conn, first: bytes.NewReader(head[:1])}, "", nil
	case !sealed:
		return nil, NotEncrypted, nil
	}
	if _, err := io.ReadFull(conn, head[1:]); err != nil {
		return nil, "", err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return nil, Malformed, nil
	}
	// The frame grows as it arrives: a length alone takes no memory.
	var frame bytes.Buffer
	frame.Write(head)
	if _, err := io.CopyN(&frame, conn, int64(size)); err != nil {
		return nil, "", err
	}
	if !k.opens(frame.Bytes()[frameHeader:], slices.Concat(head, []byte(label))) {
		return nil, WrongKey, nil
	}
	return &replay{Conn: conn, first: bytes.NewReader(frame.Bytes())}, "", nil
}

// replay is a connection whose first bytes were read already.
type replay struct {
	net.Conn
	first *bytes.Reader
}

// Read implements net.Conn.
func (r *replay) Read(b []byte) (int, error) {
	if r.first.Len() > 0 {
		return r.first.Read(b)
	}
	return r.Conn.Read(b)
}

// answered is a stream of our own, whose answer must be sealed with a current
// key like everything else.
type answered struct {
	net.Conn
	keys  *keyring
	label string
	once  sync.Once
	in    net.Conn
	err   error
}

// Read implements net.Conn.
func (a *answered) Read(b []byte) (int, error) {
	a.once.Do(func() {
		var why Reason
		a.in, why, a.err = a.keys.stream(a.Conn, a.label)
		if why != "" {
			a.err = fmt.Errorf("the answer is refused: %s", why)
		}
	})
	if a.err != nil {
		return 0, a.err
	}
	return a.in.Read(b)
}
