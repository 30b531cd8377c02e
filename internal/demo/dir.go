package demo

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// dirPrefix begins the name of every demo's directory.
const dirPrefix = "healer-demo-"

// ownerMark is the file in it that the demo keeps locked while it runs.
const ownerMark = "owner"

// makeDir makes the demo's own directory, which goes with the run, and removes
// those of demos that were killed before they could.
func (r *run) makeDir() error {
	base, err := r.baseDir()
	if err != nil {
		return err
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, dirPrefix)
	if err != nil {
		return err
	}
	r.dir = dir
	r.onEnd(func() { _ = os.RemoveAll(dir) })
	mark, err := own(dir)
	if err != nil {
		return err
	}
	r.onEnd(func() { _ = mark.Close() })
	// The servers run as another user when the demo runs as root.
	return os.Chmod(dir, 0o711)
}

// baseDir is where the directory is made. One that was not there before is
// removed at the end, unless somebody has put something else there.
func (r *run) baseDir() (string, error) {
	if r.opts.Dir == "" {
		return os.TempDir(), nil
	}
	base, err := filepath.Abs(r.opts.Dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(base); errors.Is(err, os.ErrNotExist) {
		r.onEnd(func() { _ = os.Remove(base) })
	}
	return base, os.MkdirAll(base, 0o755)
}

// own locks the mark before it gets its name, so that a sweep never finds a
// living demo's mark free. The lock ends with the process, however that ends.
func own(dir string) (*os.File, error) {
	unnamed := filepath.Join(dir, ownerMark+".new")
	f, err := os.OpenFile(unnamed, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = errors.Join(lock(f), os.Rename(unnamed, filepath.Join(dir, ownerMark)))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// sweep removes the directories of demos that live no more.
func sweep(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, ownerMark), os.O_RDWR, 0)
		if err != nil {
			continue // another user's, or one that is just being made
		}
		if lock(f) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}
