package chaoslab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"healer/chaos/fault"
	"healer/internal/localpg"
)

// diskBytes is the size of a node's file system. It lies in memory, and only what is
// written counts.
const diskBytes = 1 << 30

// disks are the nodes' file systems, each a small tmpfs of its own.
type disks struct {
	dir     string
	mounted []string
	why     error // why there are none
}

// mountDisks mounts a file system for each node, where that is allowed.
func mountDisks(base string, nodes []string) *disks {
	d := &disks{dir: filepath.Join(base, "servers")}
	d.why = d.mount(nodes)
	if d.why != nil {
		d.why = errors.Join(d.why, d.unmount())
	}
	return d
}

func (d *disks) mount(nodes []string) error {
	for _, n := range nodes {
		at := d.at(n)
		if err := os.MkdirAll(at, 0o711); err != nil {
			return err
		}
		if err := unix.Mount("healer-chaos", at, "tmpfs", 0, fmt.Sprintf("size=%d,mode=711", diskBytes)); err != nil {
			return fmt.Errorf("mount a tmpfs at %s: %w", at, err)
		}
		d.mounted = append(d.mounted, at)
		if err := scatter(at); err != nil {
			return err
		}
	}
	return nil
}

// scatter gives what is made in a new file system other numbers than in the next one.
// A server is known by the device and the number of its data directory, as far as its
// shared memory is concerned (src/backend/port/sysv_shmem.c). A file system may have the
// device of one that has just gone, and a process that is ending there its memory still.
func scatter(dir string) error {
	at := filepath.Join(dir, "number")
	for range rand.IntN(4096) {
		if err := errors.Join(os.Mkdir(at, 0o700), os.Remove(at)); err != nil {
			return err
		}
	}
	return nil
}

// NewDir makes a directory for a lab; remove removes it. What labs of processes have left
// that were killed goes with it, their file systems too.
func NewDir(ctx context.Context) (dir string, remove func(), err error) {
	return localpg.TempDir(ctx, "healer-chaos-", unmountBelow)
}

// unmountBelow takes away all that is mounted below a directory.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}

func (d *disks) at(node string) string { return filepath.Join(d.dir, node) }

// unmount takes the file systems away, when nothing runs in them any more.
func (d *disks) unmount() error {
	var errs []error
	for _, at := range d.mounted {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	d.mounted = nil
	return errors.Join(errs...)
}

// disk is the place where a file system is mounted.
type disk string

var _ fault.Disk = disk("")

// Left implements fault.Disk.
func (d disk) Left() (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(string(d), &s); err != nil {
		return 0, fmt.Errorf("%s: %w", d, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// Fill implements fault.Disk: one file takes all there is.
func (d disk) Fill() (func() error, error) {
	path := filepath.Join(string(d), "ballast")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	free := func() error {
		err := os.Remove(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	// Others write meanwhile: what is left is taken in ever smaller parts.
	size := int64(0)
	for part := int64(diskBytes); part >= 4096; {
		if err := unix.Fallocate(int(f.Fd()), 0, size, part); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				return free, fmt.Errorf("fill %s: %w", d, err)
			}
			part /= 2
			continue
		}
		size += part
	}
	return free, nil
}
