package outbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const segmentSuffix = ".seg"

// segment is one file. The Box's lock guards its fields.
type segment struct {
	file *os.File
	path string
	size int64
	// base is its number: no message in it has a lower one.
	base uint64
	// last is the highest message in it, below base when it has none.
	last uint64
	// dirty is set by a write and cleared when its fsync begins.
	dirty bool
	// gone is set when the file was deleted.
	gone bool
	// broken forbids further writes: its end may be half a frame.
	broken bool
}

// createSegment makes the segment whose first message will be seq.
func createSegment(dir string, seq uint64) (*segment, error) {
	path := filepath.Join(dir, fmt.Sprintf("%016x%s", seq, segmentSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &segment{file: f, path: path, base: seq, last: seq - 1}, nil
}

// openSegment opens an existing file and reads its frames.
func openSegment(path string, seq uint64) (*segment, []byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read outbox segment %s: %w", path, err), f.Close())
	}
	return &segment{file: f, path: path, base: seq, last: seq - 1}, data, nil
}

// listSegments returns the numbers of the segments in dir, lowest first.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var seqs []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok || len(name) != 16 {
			continue
		}
		if seq, err := strconv.ParseUint(name, 16, 64); err == nil && seq > 0 {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// write appends a frame, whole or not at all.
func (s *segment) write(b []byte) error {
	_, err := s.file.Write(b)
	if err != nil {
		// What was written of it must not stand between good frames.
		if terr := s.file.Truncate(s.size); terr != nil {
			s.broken = true
			err = errors.Join(err, terr)
		}
		return err
	}
	s.size += int64(len(b))
	s.dirty = true
	return nil
}

// remove deletes the file.
func (s *segment) remove() error {
	s.gone = true
	return errors.Join(os.Remove(s.path), s.file.Close())
}
