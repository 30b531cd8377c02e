package localpg

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

func newCache(t *testing.T) *cache {
	t.Helper()
	t.Setenv(EnvCache, filepath.Join(t.TempDir(), "cache"))
	c, err := openCache(account{})
	must(t, err)
	return c
}

func TestCacheEntryIsBuiltOnce(t *testing.T) {
	c, ctx := newCache(t), limit(t)
	var built atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := c.entry(ctx, "thing", func(dir string) error {
				built.Add(1)
				return os.WriteFile(filepath.Join(dir, "content"), []byte("whole"), 0o644)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(filepath.Join(dir, "content")); err != nil || string(got) != "whole" {
				t.Errorf("content %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestCacheKeepsNothingOfAFailedBuild(t *testing.T) {
	c, ctx := newCache(t), limit(t)
	boom := errors.New("boom")
	_, err := c.entry(ctx, "thing", func(dir string) error {
		must(t, os.WriteFile(filepath.Join(dir, "half"), nil, 0o644))
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("error %v", err)
	}
	left, err := filepath.Glob(filepath.Join(c.dir, "*"))
	must(t, err)
	if diff := cmp.Diff([]string{filepath.Join(c.dir, "lock")}, left); diff != "" {
		t.Errorf("in the cache (-want +got):\n%s", diff)
	}
}

func TestCacheClearsWhatADeadBuilderLeft(t *testing.T) {
	c, ctx := newCache(t), limit(t)
	half := filepath.Join(c.dir, "making-123")
	must(t, os.MkdirAll(filepath.Join(half, "data"), 0o755))
	_, err := c.entry(ctx, "thing", func(string) error { return nil })
	must(t, err)
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead builder left is still there: %v", err)
	}
}

func TestLockFileHonoursTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(limit(t), path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockFile(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a held lock: %v", err)
	}
	unlock()
	unlock, err = lockFile(limit(t), path)
	must(t, err)
	unlock()
}

func TestCacheRefusesADirectoryThatOthersCanFill(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	t.Setenv(EnvCache, dir)
	_, err := openCache(account{})
	var fault *topology.Fault
	if !errors.As(err, &fault) || fault.Code != "cache_not_ours" {
		t.Errorf("error %v, want cache_not_ours", err)
	}
}

func TestRunnableCopiesAPackageAndLeavesItAlone(t *testing.T) {
	c, ctx := newCache(t), limit(t)
	top := elsewhere(t)
	native := fakePackage(t, top, "18", "18.4.0-beta.17")
	before := listTree(t, native)
	inst, err := Find(18)
	must(t, err)
	got, err := c.runnable(ctx, inst)
	must(t, err)
	if !got.complete() {
		t.Error("the copy has no links")
	}
	if data, err := os.ReadFile(filepath.Join(got.root, "lib", "libq.so.5")); err != nil || string(data) != "library" {
		t.Errorf("through the link: %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(got.root, "lib", "libq.a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("static libraries are copied: %v", err)
	}
	if diff := cmp.Diff(before, listTree(t, native)); diff != "" {
		t.Errorf("the package changed (-before +after):\n%s", diff)
	}
	must(t, os.Chtimes(inst.program("postgres"), time.Time{}, time.Unix(1, 0))) // unpacked anew
	again, err := c.runnable(ctx, inst)
	must(t, err)
	if again.BinDir != got.BinDir {
		t.Errorf("copied twice: %s and %s", got.BinDir, again.BinDir)
	}
	fresh, err := c.runnable(ctx, got)
	must(t, err)
	if fresh.BinDir != got.BinDir {
		t.Errorf("a complete installation was copied to %s", fresh.BinDir)
	}
}

func TestUnreachable(t *testing.T) {
	top := t.TempDir()
	must(t, os.Chmod(filepath.Dir(top), 0o755))
	must(t, os.Chmod(top, 0o755))
	closed := filepath.Join(top, "closed")
	must(t, os.MkdirAll(filepath.Join(closed, "in"), 0o755))
	stranger := account{uid: 54321, gid: 54321, drop: true}
	for _, tc := range []struct {
		name string
		mode os.FileMode
		acc  account
		want string
	}{
		{"open to all", 0o755, stranger, ""},
		{"closed to others", 0o700, stranger, closed},
		{"closed to others, but ours", 0o700, account{uid: os.Geteuid()}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			must(t, os.Chmod(closed, tc.mode))
			if got := tc.acc.unreachable(filepath.Join(closed, "in", "not there yet")); got != tc.want {
				t.Errorf("unreachable: %q, want %q", got, tc.want)
			}
		})
	}
}

func listTree(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		paths = append(paths, path+" "+d.Type().String())
		return err
	}))
	return paths
}
