package outbox

import (
	"bytes"
	"testing"
)

func FuzzDecodeFrame(f *testing.F) {
	f.Add(encodeMessage(7, msg(9)))
	f.Add(encodeAck(3))
	f.Add(append(encodeAck(3), encodeMessage(8, msg(1))...))
	f.Add(seal(append(make([]byte, frameHeader), "M12345678\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...)))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFrame(b)
		if err != nil {
			return
		}
		if got.size > len(b) {
			t.Fatalf("frame of %d bytes in %d", got.size, len(b))
		}
		again := encodeAck(got.seq)
		if got.kind == typeMessage {
			again = encodeMessage(got.seq, got.msg)
		}
		// A length may be written in more bytes than it needs; nothing else
		// may differ.
		if len(again) == got.size && !bytes.Equal(again, b[:got.size]) {
			t.Fatalf("frame %x is encoded as %x", b[:got.size], again)
		}
	})
}
