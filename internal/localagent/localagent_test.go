package localagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healer/config"
)

// TestClusterFile loads the file that the agents get.
func TestClusterFile(t *testing.T) {
	addrs, err := Addresses(t.Context(), []string{"n1", "n2", "n3"}, func(n string) string {
		return `host=` + n + ` dbname='a b' user=postgres`
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("cluster.yaml", []byte(ClusterFile("demo", addrs)), func(dsn string) (string, error) { return dsn, nil })
	if c == nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		n, ok := c.Node(a.Node)
		if !ok || n.DSN != a.DSN || n.Gossip != a.Gossip || n.API != a.API || n.NATS.Client != a.NATS || n.NATS.Cluster != a.Route {
			t.Errorf("%s was read as %+v", a.Node, n)
		}
	}
	if c.Cluster != "demo" || !c.EmbeddedNATS() {
		t.Errorf("cluster was read as %+v", c)
	}
}

// An agent can be killed and started again, and one that ends by itself says why.
func TestAgentProcess(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "agent.sh")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho started $5\nexec sleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	a := New(program, "cluster.yaml", "n1", dir)
	for range 2 {
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		if !a.Running() || a.Start() == nil {
			t.Error("a second process was started beside the first")
		}
		a.Kill()
		if a.Running() {
			t.Error("it outlived Kill")
		}
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no such node: $5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	<-a.done
	if err := a.Ended(); err == nil || !strings.Contains(err.Error(), "no such node: n1") {
		t.Errorf("it ended, and this is said: %v", err)
	}
}
