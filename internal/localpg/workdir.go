package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// workPrefix begins the name of every temporary directory of servers.
const workPrefix = "healer-pg-"

// ownerMark is the file in it that its owner keeps locked.
const ownerMark = "owner"

// shmWorth is how many free bytes make /dev/shm the place for data directories.
// A container's default of 64 MB would fill at once.
const shmWorth = 4 << 30

// workDir is a directory for servers.
type workDir struct {
	path string
	made bool   // we made it, so we remove it
	free func() // ends our ownership of a temporary directory
}

// newWorkDir makes a temporary directory, or uses dir when it is not empty.
func newWorkDir(ctx context.Context, dir string, acc account) (*workDir, error) {
	if dir != "" {
		return useDir(dir, acc)
	}
	base := scratchBase()
	if at := acc.unreachable(base); at != "" {
		return nil, unreachableFault(at)
	}
	return tempDir(ctx, base, workPrefix, func(string) {})
}

// TempDir makes a temporary directory that servers' users may enter, whose name begins
// with the prefix; remove removes it. Those of processes that died before they could are
// removed first, each once release has let go of what keeps it.
func TempDir(ctx context.Context, prefix string, release func(dir string)) (path string, remove func(), err error) {
	base, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return "", nil, err
	}
	w, err := tempDir(ctx, base, prefix, release)
	if err != nil {
		return "", nil, err
	}
	return w.path, w.remove, nil
}

func tempDir(ctx context.Context, base, prefix string, release func(dir string)) (*workDir, error) {
	sweep(base, prefix, release)
	path, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, err
	}
	w := &workDir{path: path, made: true}
	if w.free, err = own(ctx, path); err != nil {
		_ = os.RemoveAll(path)
		return nil, err
	}
	if err := os.Chmod(path, 0o711); err != nil {
		w.remove()
		return nil, err
	}
	return w, nil
}

// own marks a temporary directory as in use. The mark gets its name when it is
// locked already, so that a sweep never sees it free.
func own(ctx context.Context, path string) (free func(), err error) {
	unnamed := filepath.Join(path, "owner.new")
	if free, err = lockFile(ctx, unnamed); err != nil {
		return nil, err
	}
	if err := os.Rename(unnamed, filepath.Join(path, ownerMark)); err != nil {
		free()
		return nil, err
	}
	return free, nil
}

func useDir(dir string, acc account) (*workDir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(abs)
	missing := errors.Is(err, os.ErrNotExist)
	if missing {
		err = os.MkdirAll(abs, 0o755)
	}
	if err != nil {
		return nil, err
	}
	// The servers' processes are known by the directory they are in, which the
	// kernel tells without symbolic links.
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, err
	}
	if at := acc.unreachable(abs); at != "" {
		return nil, unreachableFault(at)
	}
	return &workDir{path: abs, made: missing, free: func() {}}, nil
}

// remove deletes the directory if it is ours; a directory that was there before
// stays, without what the servers put into it.
func (w *workDir) remove() {
	if w.made {
		_ = os.RemoveAll(w.path)
	}
	w.free()
}

// scratchBase prefers memory to disk: what is below it does not outlive us.
func scratchBase() string {
	if os.Getenv("TMPDIR") == "" {
		var fs syscall.Statfs_t
		if err := syscall.Statfs("/dev/shm", &fs); err == nil && fs.Bavail*uint64(fs.Bsize) > shmWorth {
			return "/dev/shm"
		}
	}
	base, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return os.TempDir()
	}
	return base
}

// sweep removes the temporary directories of processes that died before they
// could: whoever lives holds the lock in his.
func sweep(base, prefix string, release func(dir string)) {
	dirs, err := filepath.Glob(filepath.Join(base, prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, ownerMark), os.O_RDWR, 0)
		if err != nil {
			continue // another user's, or one that is just being made
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			release(dir)
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}

// host is what starting servers of one version needs.
type host struct {
	acc      account
	cache    *cache
	inst     Installation // runnable by acc
	template string
}

// ofMajor finds a major version's installation.
func ofMajor(major int) func(context.Context) (Installation, error) {
	return func(ctx context.Context) (Installation, error) { return find(ctx, major) }
}

func newHost(ctx context.Context, find func(context.Context) (Installation, error)) (*host, error) {
	inst, err := find(ctx)
	if err != nil {
		return nil, err
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	c, err := openCache(acc)
	if err != nil {
		return nil, err
	}
	if inst, err = c.runnable(ctx, inst); err != nil {
		return nil, err
	}
	template, err := c.template(ctx, inst)
	if err != nil {
		return nil, err
	}
	return &host{acc: acc, cache: c, inst: inst, template: template}, nil
}

// Prepare does what starting a first server of a major version would wait for:
// it finds the installation, copies it where that is needed, and makes the
// template.
func Prepare(ctx context.Context, major int) (Installation, error) {
	h, err := newHost(ctx, ofMajor(major))
	if err != nil {
		return Installation{}, fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	return h.inst, nil
}
