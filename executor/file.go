package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Limits of the journal's files.
const (
	// DefaultMaxBytes is the size at which a file is put aside for a new one.
	DefaultMaxBytes = 4 << 20
	// DefaultKeep is how many files are kept put aside.
	DefaultKeep = 4
)

// journalName is the file in use; those put aside have a number before the
// suffix, 1 being the newest.
const journalName = "journal.jsonl"

// Journal is a Recorder in local files: one JSON object a line. Record hands a
// group to the kernel; a goroutine of its own brings it to the disk. What it
// remembers is for people. It is safe for concurrent use, by one process.
type Journal struct {
	dir      string
	maxBytes int64
	keep     int

	mu sync.Mutex
	// file is nil when the journal is closed, or when it could not be opened
	// again after a rotation: then the next group tries.
	file   *os.File
	size   int64
	closed bool

	// written wakes the goroutine that syncs, failed is what became of its last
	// attempt, ended is closed when it has ended.
	written chan struct{}
	failed  error
	ended   chan struct{}
}

// OpenJournal opens the journal in dir, which it makes if need be. maxBytes and
// keep bound what it takes; 0 stands for the defaults. A last line that a crash
// has left torn is cut off.
func OpenJournal(dir string, maxBytes int64, keep int) (*Journal, error) {
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	if keep == 0 {
		keep = DefaultKeep
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{dir: dir, maxBytes: maxBytes, keep: keep, written: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := j.open(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	go j.sync()
	return j, nil
}

// sync brings to the disk what was written, until the journal is closed. Groups
// that are written meanwhile share the next turn.
func (j *Journal) sync() {
	defer close(j.ended)
	for range j.written {
		j.mu.Lock()
		f := j.file
		j.mu.Unlock()
		if f == nil {
			continue
		}
		// A rotation has synced the file before it closed it.
		err := f.Sync()
		if errors.Is(err, fs.ErrClosed) {
			err = nil
		}
		j.mu.Lock()
		j.failed = err
		j.mu.Unlock()
	}
}

func (j *Journal) path(n int) string {
	if n == 0 {
		return filepath.Join(j.dir, journalName)
	}
	return filepath.Join(j.dir, "journal."+strconv.Itoa(n)+".jsonl")
}

// open opens the file in use for appending after its last whole line.
func (j *Journal) open() error {
	f, err := os.OpenFile(j.path(0), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err == nil {
		err = syncDir(j.dir) // the file's name must last as well
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.size = f, size
	return nil
}

// wholeLines is the length of the file up to its last newline.
func wholeLines(f *os.File) (int64, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	return int64(bytes.LastIndexByte(b, '\n') + 1), nil
}

// Record implements Recorder.
func (j *Journal) Record(entries ...Entry) error {
	var group bytes.Buffer
	enc := json.NewEncoder(&group)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(group.Bytes()); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *Journal) append(group []byte) error {
	if j.closed {
		return fs.ErrClosed
	}
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	if j.size > 0 && j.size+int64(len(group)) > j.maxBytes {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(group)
	j.size += int64(n)
	if err != nil {
		// A torn group would spoil the next one's first line.
		j.size -= int64(n)
		_, seek := j.file.Seek(j.size, io.SeekStart)
		return errors.Join(err, j.file.Truncate(j.size), seek)
	}
	select {
	case j.written <- struct{}{}:
	default: // it is awake already, and will find this group as well
	}
	// Of a disk that fails the next group tells.
	err, j.failed = j.failed, nil
	return err
}

// rotate puts the file aside, and drops the oldest.
func (j *Journal) rotate() error {
	if err := errors.Join(j.file.Sync(), j.file.Close()); err != nil {
		return err
	}
	j.file = nil
	if err := os.Remove(j.path(j.keep)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, j.open())
	}
	for n := j.keep - 1; n >= 0; n-- {
		if err := os.Rename(j.path(n), j.path(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, j.open())
		}
	}
	return j.open()
}

// Close syncs and closes the journal; Record fails from then on.
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		close(j.written)
	}
	j.closed = true
	j.mu.Unlock()
	<-j.ended
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Sync(), j.file.Close())
	j.file = nil
	return err
}

// Entries reads everything there is, oldest first. Lines that cannot be read
// are left out, and the error names them; a torn last line is not an error.
func (j *Journal) Entries() ([]Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Entry
	var errs []error
	for n := j.keep; n >= 0; n-- {
		b, err := os.ReadFile(j.path(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("journal: %w", err))
			continue
		}
		entries, err := decodeEntries(b)
		out = append(out, entries...)
		if err != nil {
			errs = append(errs, fmt.Errorf("journal: %s: %w", j.path(n), err))
		}
	}
	return out, errors.Join(errs...)
}

// decodeEntries reads whole lines; what follows the last newline is torn.
func decodeEntries(b []byte) ([]Entry, error) {
	var out []Entry
	var errs []error
	line := 0
	for l := range bytes.Lines(b) {
		line++
		if !bytes.HasSuffix(l, []byte("\n")) {
			break
		}
		var e Entry
		if err := json.Unmarshal(l, &e); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		out = append(out, e)
	}
	return out, errors.Join(errs...)
}

// syncDir makes a directory's names durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
