package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"healer/topology"
)

// dataDir is an agent's own directory: who it belongs to, a lock against a
// second agent, and the files of the bus, the journal and the memory.
type dataDir struct {
	path string
	lock *os.File
}

// owner is the content of agent.json, which ties a directory to one agent.
type owner struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
}

// openDataDir makes or takes over the directory for an agent. A directory that
// belongs to another agent, or is in use, is left as it is.
func openDataDir(path, cluster, node string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, dirFault("data_dir", "give --data-dir a directory that this user may write", err)
	}
	if err := keepPrivate(path); err != nil {
		return nil, dirFault("data_dir", "give --data-dir a directory of this user's own: chmod 0700 "+path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dirFault("data_dir", "give --data-dir a directory that this user may write", err)
	}
	// The kernel drops the lock with the process, however it ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, dirFault("data_dir_in_use",
			"stop the other agent, or give this one its own --data-dir",
			fmt.Errorf("data directory %s is in use by another agent", path))
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.claim(owner{Cluster: cluster, Node: node}); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// keepPrivate shuts others out of the directory: events, the journal and what operators
// have said are nobody else's.
func keepPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, 0o700) //nolint:gosec // G302: a directory is entered
}

// claim writes the owner into a fresh directory and compares it in a used one.
func (d *dataDir) claim(want owner) error {
	var got owner
	err := readJSON(d.file("agent.json"), &got)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeJSON(d.file("agent.json"), want)
	case err != nil:
		return dirFault("data_dir", "restore agent.json or start with an empty --data-dir", err)
	case got != want:
		return dirFault("data_dir_foreign",
			"give --data-dir the directory of this agent, or an empty one",
			fmt.Errorf("data directory %s belongs to node %s of cluster %s, not to node %s of cluster %s",
				d.path, got.Node, got.Cluster, want.Node, want.Cluster))
	default:
		return nil
	}
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// sub makes and returns a directory below the data directory.
func (d *dataDir) sub(name string) (string, error) {
	p := d.file(name)
	if err := os.MkdirAll(p, 0o700); err != nil {
		return "", dirFault("data_dir", "make the data directory writable for this user", err)
	}
	return p, nil
}

func (d *dataDir) close() { _ = d.lock.Close() }

func dirFault(code, hint string, err error) error {
	return &topology.Fault{Class: topology.Permanent, Code: code, Hint: hint, Err: err}
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON replaces the file as a whole: a crash leaves the old or the new
// content, never a part.
func writeJSON(path string, v any) (err error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.Write(append(b, '\n')); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
