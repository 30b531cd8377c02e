package outbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is done to an outbox, in whatever order, it has what a list would.
func TestOutboxIsAList(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "m")
		if err != nil {
			t.Fatal(err)
		}
		limits := Limits{
			Messages: rapid.IntRange(1, 40).Draw(t, "messages"),
			Segment:  rapid.Int64Range(1, 600).Draw(t, "segment"),
		}
		m := &model{t: t, dir: dir, limits: limits}
		m.reopen()
		defer func() {
			if err := m.box.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append, "repeat": m.repeat, "ack": m.ack, "reopen": func(*rapid.T) { m.reopen() },
			"crash": m.crash, "": m.compare,
		})
	})
}

type model struct {
	t       *rapid.T
	dir     string
	limits  Limits
	box     *Box
	pending []int
	next    int
}

func (m *model) append(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "n") {
		added, err := m.box.Append(msg(m.next))
		full := len(m.pending) >= m.limits.Messages
		if full == (err == nil) || added == full {
			t.Fatalf("append with %d of %d pending: %v, %v", len(m.pending), m.limits.Messages, added, err)
		}
		if added {
			m.pending = append(m.pending, m.next)
		}
		m.next++
	}
}

func (m *model) repeat(t *rapid.T) {
	if len(m.pending) == 0 {
		t.Skip("nothing to repeat")
	}
	i := rapid.SampledFrom(m.pending).Draw(t, "again")
	if added, err := m.box.Append(msg(i)); added || err != nil {
		t.Fatalf("a pending message was taken again: %v, %v", added, err)
	}
}

func (m *model) ack(t *rapid.T) {
	n := rapid.IntRange(0, len(m.pending)).Draw(t, "n")
	var seq uint64
	for range n {
		e, _ := m.box.After(seq)
		seq = e.Seq
	}
	m.box.Ack(seq)
	m.pending = slices.Clone(m.pending[n:])
}

func (m *model) reopen() {
	if m.box != nil {
		if err := m.box.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	box, err := Open(m.dir, m.limits, quiet())
	if err != nil {
		m.t.Fatal(err)
	}
	m.box = box
}

// crash opens a copy of the files as they are now, while the box is in use: all
// that a killed process leaves. Then it tears the copy's end.
func (m *model) crash(t *rapid.T) {
	copied := m.dir + "-crash"
	if err := os.CopyFS(copied, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(copied); err != nil {
			t.Fatal(err)
		}
	}()
	killed, err := Open(copied, m.limits, quiet())
	if err != nil {
		t.Fatal(err)
	}
	m.same(t, killed, m.pending)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(copied, "*"+segmentSuffix))
	if len(files) == 0 {
		return
	}
	last := files[len(files)-1]
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, rapid.Int64Range(0, info.Size()).Draw(t, "cut")); err != nil {
		t.Fatal(err)
	}
	torn, err := Open(copied, m.limits, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer torn.Close()
	// The end may be missing, and what was acknowledged may be back: no
	// message that is there is out of order or changed.
	prev := -1
	for _, got := range m.read(t, torn) {
		i := slices.IndexFunc(allMessages(m.next), func(w Message) bool { return w.ID == got.ID && string(w.Body) == string(got.Body) })
		if i <= prev {
			t.Fatalf("after a torn end message %s comes behind %d", got.ID, prev)
		}
		prev = i
	}
}

func allMessages(n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = msg(i)
	}
	return all
}

func (m *model) compare(t *rapid.T) { m.same(t, m.box, m.pending) }

func (m *model) same(t *rapid.T, b *Box, want []int) {
	got := m.read(t, b)
	if len(got) != len(want) || b.Stats().Pending != len(want) {
		t.Fatalf("%d messages are pending (%+v), want %d", len(got), b.Stats(), len(want))
	}
	for i, w := range want {
		if got[i].ID != msg(w).ID || string(got[i].Body) != string(msg(w).Body) {
			t.Fatalf("message %d is %s, want %s", i, got[i].ID, msg(w).ID)
		}
	}
}

func (m *model) read(t *rapid.T, b *Box) []Message {
	var all []Message
	var seq uint64
	for {
		e, ok := b.After(seq)
		if !ok {
			return all
		}
		got, err := b.Read(e)
		if err != nil {
			t.Fatal(err)
		}
		seq, all = e.Seq, append(all, got)
	}
}
