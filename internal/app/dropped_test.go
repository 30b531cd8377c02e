package app_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/drive"
	"healer/internal/localpg"
	"healer/internal/nodes"
	"healer/internal/uninstall"
	"healer/internal/verify"
)

// command runs one of healer's on the cluster, as the agents' role, and has its exit
// code and what it said.
func (c *cluster) command(args ...string) (int, string) {
	c.t.Helper()
	file := fmt.Sprintf("cluster: %s\nnats: {url: %q}\nnodes:\n", c.cfg.Cluster, strings.Join(c.cfg.NATSURLs(), ","))
	for _, n := range c.cfg.Nodes {
		file += fmt.Sprintf("  - {name: %s, dsn: %q, gossip: %q, api: %q}\n", n.Name, n.DSN, n.Gossip, n.API)
	}
	path := filepath.Join(c.t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		c.t.Fatal(err)
	}
	check := func(string) (string, error) { return "", nil }
	var said bytes.Buffer
	return cli.App{
		Stdin: strings.NewReader(""), Stdout: &said, Stderr: &said, Environ: os.Environ(), Build: build.Read("v1"), CheckDSN: check,
		Commands: []*cobra.Command{verify.Command(check), uninstall.Command(check)}, NodeCommands: nodes.Commands(check), RecoveryCommands: drive.RecoveryCommands(check),
	}.Run(c.t.Context(), append(args, "--config", path)), said.String()
}

// A node that is dropped after its recovery is taken out of the file. The agents that
// start with that one, on their old directories, know three nodes: they are healthy,
// remember nothing of the fourth, and heal the loss of one of the three.
func TestAgentsWithoutADroppedNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Nodes: 4}, nil)
	c.startAll()
	c.lag(20)
	for _, n := range []string{"n2", "n4"} {
		c.mesh.Link("n1", n).Cut()
	}
	c.exec("n1", `INSERT INTO account VALUES (60001, 'n1', 1, 'unsent')`)
	c.heardOf("n1", c.flushed("n1"), "n2", "n3", "n4")
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	if err := c.stop("n1"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n4", "n1", "n2", "n3", "n4")
	drop := []string{"node", "drop", "n1", "--yes"}
	for _, n := range []string{"n2", "n3", "n4"} {
		drop = append(drop, "--slot", n+"/"+localpg.SubscriptionName("n1", n))
	}
	if code, said := c.command(drop...); code != 0 || !strings.Contains(said, "its log, which are only on n1, go with it") {
		t.Fatalf("drop ended with %d:\n%s", code, said)
	}

	for _, n := range []string{"n2", "n3", "n4"} {
		if err := c.stop(n); err != nil {
			t.Fatal(err)
		}
	}
	c.cfg.Nodes = slices.DeleteFunc(slices.Clone(c.cfg.Nodes), func(n config.Node) bool { return n.Name == "n1" })
	c.startAll()
	for _, n := range []string{"n2", "n3", "n4"} {
		s, err := c.status(n)
		if err != nil || len(s.Nodes) != 3 || len(s.Refusals) > 0 || s.Current != nil {
			t.Errorf("%s: %d nodes, refusals %+v, current %+v, %v", n, len(s.Nodes), s.Refusals, s.Current, err)
		}
	}
	if err := c.mesh.Kill(context.Background(), "n2"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n4", "n2", "n3", "n4")
	c.equal("n3", "n4")
}
