package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// superuser is the role that initdb makes and that every DSN names.
const superuser = "postgres"

// initdbArgs make a cluster that sorts and compares by bytes wherever it runs,
// so that tests do not depend on the machine's locales.
func initdbArgs(major int) []string {
	args := []string{"--no-sync", "--no-instructions", "--auth=trust", "--username=" + superuser, "--encoding=UTF8", "--locale=C"}
	if major >= 17 {
		args = append(args, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	return args
}

// template returns a data directory as initdb leaves it; it is made once for a
// version and never started. inst must be runnable.
func (c *cache) template(ctx context.Context, inst Installation) (string, error) {
	args := initdbArgs(inst.Major)
	identity, err := sourceIdentity(inst)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("template-%s-%s-u%d", inst.Version, shortHash(append(args, identity)...), c.acc.uid)
	dir, err := c.entry(ctx, name, func(dir string) error {
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			return err
		}
		if err := c.acc.own(data); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, inst.program("initdb"), append(args, "-D", data)...)
		cmd.Dir = data
		cmd.Env = childEnv()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.acc.credential(), Setpgid: true}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w\n%s", err, bytes.TrimSpace(out))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("make a template of PostgreSQL %s: %w", inst.Version, err)
	}
	return filepath.Join(dir, "data"), nil
}

// childEnv is the whole environment of what we start: no PG* variable of the
// caller's reaches a server.
func childEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// cloneCluster copies a data directory of a server that is not running and
// gives the copy to the account.
func cloneCluster(from, to string, acc account) error {
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("copy a cluster to %s: %w", to, os.ErrExist)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := copyTree(from, to, copyOptions{own: acc.own, skip: func(name string) bool { return name == pidFileName }}); err != nil {
		_ = os.RemoveAll(to)
		return fmt.Errorf("copy a cluster: %w", err)
	}
	return nil
}
