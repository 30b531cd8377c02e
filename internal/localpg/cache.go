package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"healer/topology"
)

// EnvCache names the environment variable that moves the cache of installations
// and initdb templates; by default it lies in the directory for temporary files.
const EnvCache = "HEALER_PG_CACHE"

// cache holds what is made once for all processes of one user: loadable copies
// of installations and initdb templates. Entries are made aside and renamed into
// place, so a name that exists is complete; one lock keeps processes from doing
// the same work twice.
type cache struct {
	dir string
	acc account
}

func openCache(acc account) (*cache, error) {
	dir := os.Getenv(EnvCache)
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("healer-postgres-%d", os.Geteuid()))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache of PostgreSQL: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("cache of PostgreSQL: %w", err)
	}
	// The name is predictable and /tmp is everybody's: programs are only run
	// from a directory that nobody else could have filled.
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "cache_not_ours",
			Hint: "remove it, or name another directory in " + EnvCache,
			Err:  fmt.Errorf("%s is not a directory that only this user can write", dir),
		}
	}
	if at := acc.unreachable(dir); at != "" {
		return nil, unreachableFault(at)
	}
	return &cache{dir: dir, acc: acc}, nil
}

func unreachableFault(dir string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "directory_unreachable",
		Hint: "choose a directory that other users may enter, or set TMPDIR or " + EnvCache + " to one",
		Err:  fmt.Errorf("servers do not run as root, and their user cannot enter %s", dir),
	}
}

// entry returns the path of a cache entry, calling build to fill it when it is
// missing. build gets an empty directory that becomes the entry.
func (c *cache) entry(ctx context.Context, name string, build func(dir string) error) (string, error) {
	path := filepath.Join(c.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := lockFile(ctx, filepath.Join(c.dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// Whoever held the lock is gone, so what it left half made is nobody's.
	if old, err := filepath.Glob(filepath.Join(c.dir, "making-*")); err == nil {
		for _, dir := range old {
			_ = os.RemoveAll(dir)
		}
	}
	making, err := os.MkdirTemp(c.dir, "making-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.Chmod(making, 0o755); err != nil {
		return "", err
	}
	if err := build(making); err != nil {
		return "", err
	}
	if err := os.Rename(making, path); err != nil {
		return "", err
	}
	return path, nil
}

// lockFile takes an exclusive lock, which the kernel releases when the holder
// dies, and returns what gives it back.
func lockFile(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// pause waits between two looks at something that cannot be waited for
// otherwise, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// runnable returns the installation itself when the account can run it as it
// is, and otherwise a complete copy in the cache. The original is never
// touched: other processes may be reading it.
func (c *cache) runnable(ctx context.Context, inst Installation) (Installation, error) {
	closed := c.acc.unreachable(inst.BinDir)
	if inst.complete() && closed == "" {
		return inst, nil
	}
	if inst.root == "" {
		return Installation{}, unreachableFault(closed)
	}
	identity, err := sourceIdentity(inst)
	if err != nil {
		return Installation{}, err
	}
	dir, err := c.entry(ctx, fmt.Sprintf("install-%s-%s", inst.Version, identity), func(dir string) error {
		return copyInstallation(inst, dir)
	})
	if err != nil {
		return Installation{}, fmt.Errorf("copy PostgreSQL %s from %s: %w", inst.Version, inst.root, err)
	}
	inst.root, inst.BinDir = dir, filepath.Join(dir, "bin")
	return inst, nil
}

// sourceIdentity tells one build from another of the same version. A published
// package is the same wherever and whenever it was unpacked.
func sourceIdentity(inst Installation) (string, error) {
	info, err := os.Stat(inst.program("postgres"))
	if err != nil {
		return "", err
	}
	if inst.published != "" {
		return shortHash(inst.published, fmt.Sprint(info.Size())), nil
	}
	return shortHash(inst.root, inst.Version, fmt.Sprint(info.Size()), fmt.Sprint(info.ModTime().UnixNano())), nil
}

func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

func copyInstallation(inst Installation, dir string) error {
	for _, part := range []string{"bin", "lib", "share"} {
		err := copyTree(filepath.Join(inst.root, part), filepath.Join(dir, part), copyOptions{
			own:  func(string) error { return nil },
			skip: func(name string) bool { return strings.HasSuffix(name, ".a") },
			mode: readableByAll,
		})
		if err != nil {
			return err
		}
	}
	for link, source := range inst.links {
		at := filepath.Join(dir, link)
		target, err := filepath.Rel(filepath.Dir(at), filepath.Join(dir, source))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, at); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// readableByAll lets everybody read what the owner can read, and run what the
// owner can run.
func readableByAll(m fs.FileMode) fs.FileMode {
	if m&0o100 != 0 {
		return 0o755
	}
	return 0o644
}
