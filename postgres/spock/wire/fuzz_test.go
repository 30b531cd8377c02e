package wire_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"healer/postgres/spock/wire"
	"healer/postgres/spock/wire/wiretest"
)

// streams are those of testdata, each as a list of messages.
func streams(tb testing.TB) [][][]byte {
	tb.Helper()
	raw, err := os.ReadFile("testdata/streams")
	if err != nil {
		tb.Fatal(err)
	}
	var out [][][]byte
	for _, block := range strings.Split(string(raw), "\n\n") {
		input, _, ok := strings.Cut(block, "\n----")
		for strings.HasPrefix(input, "#") {
			_, input, _ = strings.Cut(input, "\n")
		}
		if _, messages, more := strings.Cut(input, "\n"); ok && more {
			out = append(out, parse(tb, messages))
		}
	}
	return out
}

// FuzzDecode feeds the decoder anything, in either version and with warm buffers: it
// must return, not panic, and not make more of a message than is in it.
func FuzzDecode(f *testing.F) {
	for _, messages := range streams(f) {
		for _, b := range messages {
			f.Add(0, b)
			f.Add(4, b)
			f.Add(5, b)
		}
	}
	f.Fuzz(func(t *testing.T, version int, b []byte) {
		d := &wire.Decoder{}
		if version != 0 {
			version = 4 + version&1
			d = decoderOf(version)
		}
		for range 2 {
			m, err := d.Decode(b)
			if err != nil {
				return
			}
			if len(m.Old) > len(b) || len(m.New) > len(b) || len(m.Rels) > len(b) || len(m.Params) > len(b) ||
				(m.Table != nil && len(m.Table.Columns) > len(b)) {
				t.Fatalf("%d bytes became more values than that", len(b))
			}
			if m.Kind == wire.Startup {
				return
			}
			e := wiretest.Encoder{Version: version, Written: uint64(m.Written)}
			if again := e.Message(m); m.Kind != wire.Text && !sameBytes(again, b) {
				t.Fatalf("%x was read as %s, which is written as %x", b, render(m), again)
			}
		}
	})
}

// sameBytes compares a message with one written anew: the reader takes O for K, and
// an empty name where a flag promises one.
func sameBytes(again, b []byte) bool {
	if len(again) != len(b) {
		return len(again) == len(b)-1 // the flag of an empty name, and its NUL
	}
	for i := range b {
		if again[i] != b[i] && (again[i] != 'K' || b[i] != 'O') {
			return false
		}
	}
	return true
}

// FuzzTranslate feeds a translator a whole stream, each message behind its length.
func FuzzTranslate(f *testing.F) {
	for _, messages := range streams(f) {
		var b []byte
		for _, m := range messages {
			b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
			b = append(b, m...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := wire.NewTranslator(wire.Source{Origins: wire.Origins{Self: 1, Names: map[uint16]string{2: "spk_app_n1_s"}}})
		in, made := len(b), 0
		// A description is said again for the first old row of a table: never more
		// often than rows come.
		for len(b) >= 2 {
			n := int(binary.BigEndian.Uint16(b))
			if b = b[2:]; n > len(b) {
				break
			}
			err := tr.Translate(b[:n], func(m []byte) error {
				made += len(m)
				return nil
			})
			if err != nil {
				break
			}
			b = b[n:]
		}
		if made > 3*in+64 {
			t.Fatalf("%d bytes became %d", in, made)
		}
	})
}
