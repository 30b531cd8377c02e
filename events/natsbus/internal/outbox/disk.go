package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// load reads the segments of an earlier process.
func (b *Box) load() error {
	seqs, err := listSegments(b.dir)
	if err != nil {
		return fmt.Errorf("outbox directory: %w", err)
	}
	for _, seq := range seqs {
		path := filepath.Join(b.dir, fmt.Sprintf("%016x%s", seq, segmentSuffix))
		s, data, err := openSegment(path, seq)
		if err != nil {
			return fmt.Errorf("open outbox: %w", err)
		}
		b.segs = append(b.segs, s)
		b.next = max(b.next, seq)
		if err := b.replay(s, data); err != nil {
			return err
		}
	}
	b.forgetAcked()
	return nil
}

// replay takes in the frames of one segment and cuts off what is none.
func (b *Box) replay(s *segment, data []byte) error {
	for int(s.size) < len(data) {
		f, err := decodeFrame(data[s.size:])
		if err != nil {
			lost := len(data) - int(s.size)
			b.log.Warn("outbox file ends in an unreadable part, which is cut off",
				"file", s.path, "offset", s.size, "bytes", lost)
			if err := s.file.Truncate(s.size); err != nil {
				return fmt.Errorf("cut off outbox file %s: %w", s.path, err)
			}
			s.dirty = true
			return nil
		}
		switch f.kind {
		case typeAck:
			b.acked = max(b.acked, f.seq)
		case typeMessage:
			b.add(Entry{Seq: f.seq, ID: f.msg.ID, At: f.msg.At, seg: s, off: s.size, size: f.size})
		}
		s.size += int64(f.size)
	}
	return nil
}

// forgetAcked drops what an earlier process had noted as acknowledged.
func (b *Box) forgetAcked() {
	n := 0
	for n < len(b.pending) && b.pending[n].Seq <= b.acked {
		e := b.pending[n]
		delete(b.ids, e.ID)
		b.recent.Add(e.ID)
		b.bytes -= int64(e.size)
		n++
	}
	b.pending = b.pending[n:]
	b.next = max(b.next, b.acked+1)
	if n == 0 {
		return
	}
	if err := b.discard(); err != nil {
		b.log.Warn("outbox cannot be cleaned up", "dir", b.dir, "error", err)
	}
}

// syncLoop runs an fsync after writes. One covers all that came before it.
func (b *Box) syncLoop() {
	defer close(b.synced)
	for range b.dirty {
		if err := b.sync(); err != nil {
			b.log.Error("outbox is not on the disk: events may be lost with the power", "dir", b.dir, "error", err)
		}
	}
}

// sync writes the dirty files to the disk, without holding the lock meanwhile.
func (b *Box) sync() error {
	b.mu.Lock()
	var dirty []*segment
	for _, s := range b.segs {
		if s.dirty {
			s.dirty = false
			dirty = append(dirty, s)
		}
	}
	newFile := b.newFile
	b.newFile = false
	b.mu.Unlock()

	var errs []error
	for _, s := range dirty {
		errs = append(errs, b.syncSegment(s))
	}
	if newFile {
		errs = append(errs, syncDir(b.dir))
	}
	err := errors.Join(errs...)
	b.mu.Lock()
	b.syncErr = err
	b.mu.Unlock()
	return err
}

func (b *Box) syncSegment(s *segment) error {
	err := s.file.Sync()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && !s.gone {
		s.dirty = true
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
