package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string, l Limits) *Box {
	t.Helper()
	b, err := Open(dir, l, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func msg(i int) Message {
	return Message{ID: fmt.Sprintf("id%03d", i), Subject: "s.t", At: time.Unix(int64(i), 5), Body: []byte(strings.Repeat("b", i%50))}
}

func add(t *testing.T, b *Box, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if added, err := b.Append(msg(i)); err != nil || !added {
			t.Fatalf("append %d: %v, %v", i, added, err)
		}
	}
}

// content reads what is pending.
func content(t *testing.T, b *Box) []Message {
	t.Helper()
	all := []Message{}
	var seq uint64
	for {
		e, ok := b.After(seq)
		if !ok {
			return all
		}
		m, err := b.Read(e)
		if err != nil {
			t.Fatal(err)
		}
		if m.ID != e.ID {
			t.Fatalf("entry of %s is message %s", e.ID, m.ID)
		}
		seq, all = e.Seq, append(all, m)
	}
}

func expect(t *testing.T, b *Box, from, to int) {
	t.Helper()
	want := []Message{}
	for i := from; i < to; i++ {
		want = append(want, msg(i))
	}
	if d := cmp.Diff(want, content(t, b)); d != "" {
		t.Fatalf("pending (-want +got):\n%s", d)
	}
}

// ackN acknowledges the first n pending messages.
func ackN(t *testing.T, b *Box, n int) {
	t.Helper()
	var seq uint64
	for range n {
		e, ok := b.After(seq)
		if !ok {
			t.Fatal("nothing is pending")
		}
		seq = e.Seq
	}
	b.Ack(seq)
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMessagesOutliveTheBox(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{Segment: 300})
	add(t, b, 0, 40)
	ackN(t, b, 15)
	expect(t, b, 15, 40)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, Limits{Segment: 300})
	expect(t, b, 15, 40)
	s := b.Stats()
	if s.Pending != 25 || !s.Oldest.Equal(msg(15).At) || s.Bytes <= 0 || s.SyncError != nil {
		t.Errorf("stats: %+v", s)
	}
	if added, err := b.Append(msg(20)); added || err != nil {
		t.Errorf("a pending id was taken again: %v, %v", added, err)
	}
	add(t, b, 40, 45)
	expect(t, b, 15, 45)
}

func TestAcknowledgedSegmentsGoAndTheLastIsEmptied(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{Segment: 300})
	add(t, b, 0, 40)
	before := len(segments(t, dir))
	ackN(t, b, 30)
	if after := len(segments(t, dir)); before < 5 || after >= before {
		t.Errorf("%d segments before, %d after", before, after)
	}
	ackN(t, b, 10)
	files := segments(t, dir)
	if len(files) != 1 {
		t.Fatalf("files of an empty outbox: %v", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Size() != 0 {
		t.Errorf("the last file of an empty outbox: %v, %v", info.Size(), err)
	}
	if s := b.Stats(); s.Pending != 0 || s.Bytes != 0 || !s.Oldest.IsZero() {
		t.Errorf("stats: %+v", s)
	}
	if added, err := b.Append(msg(39)); added || err != nil {
		t.Errorf("an id that was acknowledged just now was taken again: %v, %v", added, err)
	}
	add(t, b, 40, 50)
	expect(t, b, 40, 50)
}

func TestBounds(t *testing.T) {
	b := open(t, t.TempDir(), Limits{Messages: 3})
	add(t, b, 0, 3)
	if _, err := b.Append(msg(3)); !errors.Is(err, ErrFull) {
		t.Errorf("one message too many: %v", err)
	}
	ackN(t, b, 1)
	add(t, b, 3, 4)
	expect(t, b, 1, 4)

	dir := t.TempDir()
	b = open(t, dir, Limits{Bytes: 1000})
	n, err := 0, error(nil)
	for ; err == nil; n++ {
		_, err = b.Append(msg(n))
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("one byte too many: %v", err)
	}
	expect(t, b, 0, n-1)
	var size int64
	for _, f := range segments(t, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 1000 || size < 800 {
		t.Errorf("files have %d bytes", size)
	}
	ackN(t, b, n-1)
	add(t, b, n, n+1)

	if _, err := b.Append(Message{ID: "big", Body: make([]byte, maxBody)}); err == nil || errors.Is(err, ErrFull) {
		t.Errorf("a message larger than any frame: %v", err)
	}
}

func TestDirectoryIsUsedOnce(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{})
	if _, err := Open(dir, Limits{}, quiet()); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(msg(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed outbox: %v", err)
	}
	open(t, dir, Limits{})
}

func TestDirectoryThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "d"), Limits{}, quiet()); err == nil {
		t.Error("a directory below a file was opened")
	}
}

// The files may be cut off anywhere. What lies before the cut stays, and the
// outbox goes on behind it.
func TestTornTailAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{})
	add(t, b, 0, 3)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	var ends []int
	for at := 0; at < len(whole); {
		f, err := decodeFrame(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += f.size
		ends = append(ends, at)
	}
	for cut := range whole {
		for _, tail := range [][]byte{nil, make([]byte, 64), bytes.Repeat([]byte{0xff}, 30)} {
			torn := filepath.Join(t.TempDir(), "torn")
			if err := os.Mkdir(torn, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(torn, filepath.Base(segments(t, dir)[0]))
			if err := os.WriteFile(path, append(bytes.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			kept := 0
			for kept < len(ends) && ends[kept] <= cut {
				kept++
			}
			b := open(t, torn, Limits{})
			expect(t, b, 0, kept)
			add(t, b, kept, 5)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, torn, Limits{})
			expect(t, b, 0, 5)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A damaged file in the middle costs its own rest, not the files after it.
func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{Segment: 200})
	add(t, b, 0, 20)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files := segments(t, dir)
	if len(files) < 4 {
		t.Fatalf("only %d segments", len(files))
	}
	data, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	first, err := decodeFrame(data)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(files[1], data, 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, Limits{Segment: 200})
	got := content(t, b)
	if len(got) >= 20 || got[0].ID != msg(0).ID || got[len(got)-1].ID != msg(19).ID {
		t.Errorf("pending after damage: %d messages", len(got))
	}
	e, ok := b.After(first.seq - 1)
	if !ok || e.Seq != first.seq {
		t.Errorf("the message before the damage is gone: %v", e)
	}
	ackN(t, b, len(got))
	if s := b.Stats(); s.Pending != 0 || s.Bytes != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestReadRefusesWhatTheDiskChanged(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{})
	add(t, b, 10, 12)
	f, err := os.OpenFile(segments(t, dir)[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'X'}, frameHeader+minBody+12); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	e, _ := b.After(0)
	if _, err := b.Read(e); !errors.Is(err, errTorn) {
		t.Errorf("read of a changed message: %v", err)
	}
	next, _ := b.After(e.Seq)
	if m, err := b.Read(next); err != nil || m.ID != msg(11).ID {
		t.Errorf("read of the message behind it: %v, %v", m, err)
	}
}

// A write that the disk takes only in part leaves no half frame between good
// ones.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Limits{})
	add(t, b, 0, 2)
	info, err := os.Stat(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) + 5, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	_, appendErr := b.Append(msg(2))
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(appendErr, syscall.EFBIG) {
		t.Fatalf("a write beyond the limit: %v", appendErr)
	}
	expect(t, b, 0, 2)
	add(t, b, 2, 4)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, dir, Limits{}), 0, 4)
}

func TestChangedTells(t *testing.T) {
	b := open(t, t.TempDir(), Limits{})
	go func() {
		if _, err := b.Append(msg(1)); err != nil {
			t.Error(err)
		}
	}()
	<-b.Changed()
	expect(t, b, 1, 2)
}
