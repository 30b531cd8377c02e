package rescue

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// recorded is a real stream: what PostgreSQL 18 sends of TestEveryChange's gap, each
// message behind its length. RECORD_STREAM=1 makes it anew.
const recorded = "testdata/every.stream.gz"

func readRecorded(tb testing.TB) [][]byte {
	tb.Helper()
	f, err := os.Open(recorded)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	out := split(all)
	if len(out) < 100 {
		tb.Fatalf("%s has %d messages", recorded, len(out))
	}
	return out
}

// split cuts a stream into messages; a length that promises too much ends it.
func split(b []byte) [][]byte {
	var out [][]byte
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		if b = b[4:]; uint64(n) > uint64(len(b)) {
			break
		}
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

func join(messages [][]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
		b = append(b, m...)
	}
	return b
}

// record keeps what the source's log has of the gap for the fuzzer.
func (l *lab) record() {
	l.Helper()
	raw, err := localpg.Column[[]byte](l.Context(), l.m.Node("n2"), `
		select data from pg_logical_slot_peek_binary_changes('`+recoverySlot+`', null, null,
			'proto_version', '1', 'publication_names', 'mesh', 'origin', 'any')`)
	l.must(err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(join(raw))
	l.must(err)
	l.must(z.Close())
	l.must(os.WriteFile(recorded, b.Bytes(), 0o600))
}

// played is a stream of bytes as a source, through the real decoder.
type played struct {
	messages [][]byte
	dec      decoder
}

func (p *played) next(context.Context) (message, error) {
	if len(p.messages) == 0 {
		return message{}, io.EOF
	}
	b := p.messages[0]
	p.messages = p.messages[1:]
	return p.dec.decode(b)
}
func (p *played) extend(topology.LSN) {}

// builder is a target that renders every change, as the applier does, and fills in
// its parameters.
type builder struct{ changes, values int }

func (b *builder) start(topology.LSN, int64, int) {}

func (b *builder) change(_ context.Context, c *change) error {
	b.changes++
	c.shape(nil)
	for _, p := range c.build(rule{mine: []uint32{1}, greater: []uint32{2}}).params {
		row := c.new
		if p.old {
			row = c.old
		}
		b.values += len(row[p.at].text)
	}
	return nil
}
func (b *builder) finish(context.Context) error { return nil }
func (b *builder) drain(context.Context) error  { return nil }

// FuzzReplay feeds the whole reading path: decoder, filter, binding, touched keys,
// statements. It must return, not panic, and not make more of a stream than is in
// it.
func FuzzReplay(f *testing.F) {
	messages := readRecorded(f)
	f.Add(join(messages))
	// Single transactions are short enough to be changed at the right place: each
	// with the tables that were described so far.
	var described, tx [][]byte
	for _, m := range messages {
		if tx = append(tx, m); msgKind(m[0]) == msgRelation {
			described = append(described, m)
		}
		if msgKind(m[0]) == msgCommit {
			f.Add(join(append(append([][]byte{}, described...), tx...)))
			tx = nil
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, to, err := play(t.Context(), split(b))
		var fault *topology.Fault
		if errors.As(err, &fault) && fault.Code == "" {
			t.Fatalf("a fault without a code: %v", err)
		}
		// A key is built of the values of a row, at most once for the old row and
		// once for the new.
		if to.changes > len(b) || to.values > 8*len(b) || r.touched.Len() > 2*len(b) {
			t.Fatalf("%d bytes became %d changes with %d bytes and %d keys", len(b), to.changes, to.values, r.touched.Len())
		}
	})
}

// play replays a stream into a T that has the tables which the stream describes.
func play(ctx context.Context, messages [][]byte) (*replay, *builder, error) {
	known := map[topology.TableName]*relation{}
	gap := Gap{Origin: "n1", Source: "n2", Watermark: 1 << 62}
	for _, m := range messages {
		switch d, err := new(decoder).decode(m); {
		case err != nil:
		case d.kind == msgOrigin:
			gap.SourceOrigin = d.origin
		case d.kind == msgRelation:
			known[d.rel.table] = d.rel
			gap.Tables = append(gap.Tables, d.rel.table)
		}
	}
	to := &builder{}
	r := newReplay(gap, "n3", 0, to, func(_ context.Context, name topology.TableName) (*table, error) {
		return tableOf(name, known[name]), nil
	})
	r.committed = func(context.Context, int64, int) (bool, error) { return false, nil }
	return r, to, r.run(ctx, &played{messages: messages})
}

// tableOf is a table with the columns of a relation; what the relation says of keys
// is its key.
func tableOf(name topology.TableName, rel *relation) *table {
	tab := &table{name: name, identified: true}
	var key []keyColumn
	for _, c := range rel.columns {
		tab.columns = append(tab.columns, column{name: c.name, typ: "text", equals: "="})
		if c.key && rel.identity != identityFull {
			key = append(key, keyColumn{name: c.name, typ: "text", equals: "="})
		}
	}
	if key != nil {
		tab.keys = []uniqueIndex{{columns: key}}
	}
	return tab
}

// TestRecordedStreamIsCarriedWhole replays what the fuzzer starts from.
func TestRecordedStreamIsCarriedWhole(t *testing.T) {
	if os.Getenv("RECORD_STREAM") != "" {
		major := pgtest.Major(t)
		l := newLabWith(t, localpg.Options{
			Nodes: 3, Links: true, Schema: everySchema(major), Conf: map[string]string{"max_prepared_transactions": "5"},
		}, nil, everySeed()...)
		for _, sql := range everyGap(major) {
			l.exec("n1", sql)
		}
		l.lose()
		l.record()
	}
	kinds := map[msgKind]int{}
	for _, b := range readRecorded(t) {
		m, err := new(decoder).decode(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		kinds[m.kind]++
	}
	for _, k := range []msgKind{msgBegin, msgOrigin, msgCommit, msgRelation, msgType, msgInsert, msgUpdate, msgDelete, msgTruncate} {
		if kinds[k] == 0 {
			t.Errorf("the recorded stream has no message %q", k)
		}
	}
	r, to, err := play(t.Context(), readRecorded(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := kinds[msgInsert] + kinds[msgUpdate] + kinds[msgDelete] + kinds[msgTruncate]; to.changes < want || r.touched.Len() == 0 {
		t.Errorf("%d changes and %d keys of %d messages", to.changes, r.touched.Len(), want)
	}
}
