package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"healer/events/natsbus/internal/recent"
)

// The reasons why a message is refused.
var (
	// ErrFull says that the bounds of the outbox are reached.
	ErrFull = errors.New("outbox is full")
	// ErrClosed says that the outbox was closed.
	ErrClosed = errors.New("outbox is closed")
	// ErrLocked says that another process uses the directory.
	ErrLocked = errors.New("outbox is in use by another process")
)

// recentIDs is how many acknowledged ids are remembered.
const recentIDs = 8192

// Limits bound an outbox. Zero values mean the defaults.
type Limits struct {
	// Messages is the most that may be pending: 100 000.
	Messages int
	// Bytes is the most that the files may take: 64 MiB.
	Bytes int64
	// Segment is the size at which a new file is begun: 4 MiB, and not more
	// than an eighth of Bytes.
	Segment int64
}

func (l Limits) withDefaults() Limits {
	if l.Messages <= 0 {
		l.Messages = 100_000
	}
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Segment <= 0 {
		l.Segment = min(4<<20, max(l.Bytes/8, 1))
	}
	return l
}

// Entry is the place of a pending message.
type Entry struct {
	// Seq rises from message to message.
	Seq uint64
	ID  string
	At  time.Time

	seg  *segment
	off  int64
	size int
}

// Stats is how full the outbox is.
type Stats struct {
	Pending int
	Bytes   int64
	// Oldest is when the first pending message was appended; zero when none
	// is pending.
	Oldest time.Time
	// SyncError is why the last fsync failed; nil when it did not.
	SyncError error
}

// Box is an open outbox, to be used by any number of goroutines.
type Box struct {
	dir    string
	limits Limits
	log    *slog.Logger
	lock   *os.File

	mu      sync.Mutex
	segs    []*segment // lowest first; the last one is written to
	pending []Entry    // in order
	ids     map[string]bool
	recent  *recent.Set
	bytes   int64 // of the pending frames
	next    uint64
	acked   uint64
	syncErr error
	newFile bool // the directory itself needs an fsync
	closed  bool

	changed chan struct{}
	dirty   chan struct{}
	synced  chan struct{} // closed when the syncing goroutine has ended
}

// Open opens the outbox in dir, making the directory if missing, and finds what
// is pending in it.
func Open(dir string, limits Limits, log *slog.Logger) (*Box, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("outbox directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	b := &Box{
		dir: dir, limits: limits.withDefaults(), log: log, lock: lock,
		ids: map[string]bool{}, recent: recent.New(recentIDs), next: 1,
		changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1), synced: make(chan struct{}),
	}
	if err := b.load(); err != nil {
		return nil, errors.Join(err, b.closeFiles())
	}
	go b.syncLoop()
	return b, nil
}

// lockDir keeps a second process out of dir. The lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("outbox lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Append keeps m for later and reports whether it was new: an id that is
// pending, or was acknowledged not long ago, is not taken again.
func (b *Box) Append(m Message) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, ErrClosed
	}
	if b.ids[m.ID] || b.recent.Has(m.ID) {
		return false, nil
	}
	raw := encodeMessage(b.next, m)
	if len(raw)-frameHeader > maxBody {
		return false, fmt.Errorf("message of %d bytes is too large for the outbox", len(m.Body))
	}
	if len(b.pending) >= b.limits.Messages {
		return false, fmt.Errorf("%w: %d messages are pending", ErrFull, len(b.pending))
	}
	if used := b.used(); used+int64(len(raw)) > b.limits.Bytes {
		return false, fmt.Errorf("%w: its files have %d of %d bytes", ErrFull, used, b.limits.Bytes)
	}
	seg, err := b.active(len(raw))
	if err != nil {
		return false, fmt.Errorf("outbox segment: %w", err)
	}
	off := seg.size
	if err := seg.write(raw); err != nil {
		return false, fmt.Errorf("write to outbox: %w", err)
	}
	b.add(Entry{Seq: b.next, ID: m.ID, At: m.At, seg: seg, off: off, size: len(raw)})
	signal(b.dirty)
	signal(b.changed)
	return true, nil
}

// add notes a message as pending. The lock is held.
func (b *Box) add(e Entry) {
	b.pending = append(b.pending, e)
	b.ids[e.ID] = true
	b.bytes += int64(e.size)
	e.seg.last = e.Seq
	b.next = e.Seq + 1
}

// used is the size of all files. The lock is held.
func (b *Box) used() int64 {
	var n int64
	for _, s := range b.segs {
		n += s.size
	}
	return n
}

// active returns the segment to write n bytes to. The lock is held.
func (b *Box) active(n int) (*segment, error) {
	if len(b.segs) > 0 {
		s := b.segs[len(b.segs)-1]
		if s.broken && s.file.Truncate(s.size) == nil {
			s.broken = false
		}
		// A segment that has no message yet takes one of any size: the next
		// segment would have the same name.
		if !s.broken && (s.last < s.base || s.size+int64(n) <= b.limits.Segment) {
			return s, nil
		}
	}
	s, err := createSegment(b.dir, b.next)
	if err != nil {
		return nil, err
	}
	b.segs = append(b.segs, s)
	b.newFile = true
	return s, nil
}

// After returns the first pending message whose number is above seq.
func (b *Box) After(seq uint64) (Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// The numbers of pending messages rise, but with gaps where a message was
	// lost to a damaged file.
	lo, hi := 0, len(b.pending)
	for lo < hi {
		if mid := (lo + hi) / 2; b.pending[mid].Seq > seq {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(b.pending) {
		return Entry{}, false
	}
	return b.pending[lo], true
}

// Read returns the message of an entry that is pending.
func (b *Box) Read(e Entry) (Message, error) {
	raw := make([]byte, e.size)
	if _, err := e.seg.file.ReadAt(raw, e.off); err != nil {
		return Message{}, fmt.Errorf("read from outbox: %w", err)
	}
	f, err := decodeFrame(raw)
	if err == nil && (f.kind != typeMessage || f.seq != e.Seq) {
		err = errTorn
	}
	if err != nil {
		return Message{}, fmt.Errorf("outbox file %s at %d: %w", e.seg.path, e.off, err)
	}
	return f.msg, nil
}

// Ack lets go of all messages up to seq.
func (b *Box) Ack(seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	n := 0
	for n < len(b.pending) && b.pending[n].Seq <= seq {
		e := b.pending[n]
		delete(b.ids, e.ID)
		b.recent.Add(e.ID)
		b.bytes -= int64(e.size)
		n++
	}
	if n == 0 {
		return
	}
	b.pending = b.pending[n:]
	b.acked = seq
	if err := b.discard(); err != nil {
		// The messages are sent again by the next process; nothing is lost.
		b.log.Warn("outbox cannot be cleaned up", "dir", b.dir, "error", err)
	}
}

// discard removes from the files what is acknowledged. The lock is held.
func (b *Box) discard() error {
	var errs []error
	for len(b.segs) > 1 && b.segs[0].last <= b.acked {
		errs = append(errs, b.segs[0].remove())
		b.segs = b.segs[1:]
	}
	s := b.segs[len(b.segs)-1]
	if len(b.pending) > 0 {
		// A full disk or a broken segment only costs that it is sent again.
		if !s.broken {
			errs = append(errs, s.write(encodeAck(b.acked)))
		}
		return errors.Join(errs...)
	}
	b.pending = nil // let go of the array
	if err := s.file.Truncate(0); err != nil {
		return errors.Join(append(errs, err)...)
	}
	s.size, s.broken, s.dirty = 0, false, true
	return errors.Join(errs...)
}

// Changed tells one listener that messages were appended since it last listened.
func (b *Box) Changed() <-chan struct{} { return b.changed }

// Stats reports how full the outbox is.
func (b *Box) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Pending: len(b.pending), Bytes: b.bytes, SyncError: b.syncErr}
	if len(b.pending) > 0 {
		s.Oldest = b.pending[0].At
	}
	return s
}

// Close writes everything to the disk and lets go of the directory.
func (b *Box) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.dirty)
	b.mu.Unlock()
	<-b.synced
	err := b.sync()
	return errors.Join(err, b.closeFiles())
}

func (b *Box) closeFiles() error {
	var errs []error
	for _, s := range b.segs {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(append(errs, b.lock.Close())...)
}

// signal tells a listener, who need not listen just now, that there is news.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
