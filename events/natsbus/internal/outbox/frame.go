package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// Message is what the outbox keeps.
type Message struct {
	// ID names the message: the outbox takes an id once.
	ID string
	// Subject is where it goes.
	Subject string
	// At is when it was appended.
	At   time.Time
	Body []byte
}

// The types of bodies in a frame.
const (
	typeMessage byte = 'M'
	typeAck     byte = 'A'
)

const (
	// frameHeader is the length of the body and its checksum.
	frameHeader = 8 + 4
	// minBody is the type and the sequence number, which every body has.
	minBody = 9
	// maxBody bounds what a length read from a damaged file can ask for.
	maxBody = 1 << 20
)

// errTorn says that no whole frame begins here.
var errTorn = errors.New("torn or damaged frame")

// frame is a decoded frame.
type frame struct {
	kind byte
	seq  uint64
	msg  Message
	// size is the number of bytes the frame takes in the file.
	size int
}

// encodeMessage returns the frame of a message.
func encodeMessage(seq uint64, m Message) []byte {
	b := make([]byte, frameHeader, frameHeader+minBody+3*binary.MaxVarintLen64+len(m.ID)+len(m.Subject)+len(m.Body))
	b = append(b, typeMessage)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.AppendVarint(b, m.At.UnixNano())
	for _, s := range []string{m.ID, m.Subject} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return seal(append(b, m.Body...))
}

// encodeAck returns the frame which says that all up to seq is acknowledged.
func encodeAck(seq uint64) []byte {
	b := append(make([]byte, frameHeader, frameHeader+minBody), typeAck)
	return seal(binary.BigEndian.AppendUint64(b, seq))
}

// seal fills in the header that b has room for at its beginning.
func seal(b []byte) []byte {
	body := b[frameHeader:]
	binary.BigEndian.PutUint64(b, uint64(len(body)))
	binary.BigEndian.PutUint32(b[8:], checksum(body))
	return b
}

func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// decodeFrame reads the frame at the beginning of b. The message's body is a
// part of b, not a copy.
func decodeFrame(b []byte) (frame, error) {
	if len(b) < frameHeader+minBody {
		return frame{}, errTorn
	}
	n, body := binary.BigEndian.Uint64(b), b[frameHeader:]
	// A file that grew by zeros at a loss of power reads as length zero.
	if n < minBody || n > maxBody || n > uint64(len(body)) {
		return frame{}, errTorn
	}
	body = body[:n]
	if checksum(body) != binary.BigEndian.Uint32(b[8:]) {
		return frame{}, errTorn
	}
	f := frame{kind: body[0], seq: binary.BigEndian.Uint64(body[1:]), size: frameHeader + len(body)}
	rest := body[minBody:]
	switch f.kind {
	case typeAck:
		if len(rest) != 0 {
			return frame{}, errTorn
		}
		return f, nil
	case typeMessage:
		var ok bool
		if f.msg, ok = decodeMessage(rest); ok {
			return f, nil
		}
	}
	return frame{}, errTorn
}

func decodeMessage(b []byte) (Message, bool) {
	var m Message
	at, used := binary.Varint(b)
	if used <= 0 {
		return m, false
	}
	m.At, b = time.Unix(0, at), b[used:]
	for _, s := range []*string{&m.ID, &m.Subject} {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			return m, false
		}
		if b = b[used:]; n > uint64(len(b)) {
			return m, false
		}
		*s, b = string(b[:n]), b[n:]
	}
	m.Body = b
	return m, true
}
