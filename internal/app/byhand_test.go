package app_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/drive"
	"healer/internal/localpg"
	"healer/postgres"
)

// file writes the cluster's file, for commands.
func (c *cluster) file() string {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: %s\nnodes:\n", c.cfg.Cluster)
	for _, n := range c.cfg.Nodes {
		fmt.Fprintf(&b, "  - {name: %s, dsn: %q, gossip: %q, api: %q, nats: {client: %q, cluster: %q}}\n",
			n.Name, n.DSN, n.Gossip, n.API, n.NATS.Client, n.NATS.Cluster)
	}
	path := filepath.Join(c.t.TempDir(), "healer.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// An operator who recovers by hand what the agents recover at the same time does no
// harm: one of the two yields where the other is, and everything is there once. What
// the command cannot ask the dead node, the agents remember.
func TestRecoveryByHandBesideAgents(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(100)
	ctx := context.Background()
	if err := c.mesh.Kill(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	var out bytes.Buffer
	code := cli.App{
		Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &out, Build: build.Read("v1"),
		CheckDSN: check, RecoveryCommands: drive.RecoveryCommands(check),
	}.Run(ctx, []string{"recovery", "run", "--failed", "n1", "--yes", "--wait", "--config", c.file()})
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out.String())
	}
	t.Log(out.String())
	c.eventually("nothing but the fences is left", func() error {
		for _, n := range []string{"n2", "n3"} {
			if left := value[int64](c, n, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'healer%')
				+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')
				+ (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')`); left != 0 {
				return fmt.Errorf("%d clones, gap marks or locks on %s", left, n)
			}
		}
		return nil
	})
	c.equal("n2", "n3")
	if a, b := c.progress("n2", "n1"), c.progress("n3", "n1"); a != b {
		t.Errorf("progress of n1 is %s on n2, %s on n3", a, b)
	}
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(ctx); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.caughtUp()
	c.equal("n1", "n2", "n3")
}
