package app_test

import (
	"context"
	"regexp"
	"testing"

	"healer/internal/localpg"
)

// A mesh of Spock heals the loss of a node, of a gap that a laggard lacks, and takes the
// node back. It runs where HEALER_SPOCK_BINDIR names a PostgreSQL with Spock.
func TestSpockHealsAndTakesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Engine: localpg.Spock}, nil)
	c.startAll()
	c.lag(40)
	c.exec("n1", "TRUNCATE entry")
	c.exec("n1", "INSERT INTO entry VALUES ('n1', 1000, '{}')")
	c.caughtUp("n1", "n2")
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n2", "n1", "n2", "n3")
	t.Logf("%+v", last)
	c.equal("n2", "n3")
	c.exec("n2", "INSERT INTO entry VALUES ('n2', 1, '{}')")
	c.exec("n3", "INSERT INTO entry VALUES ('n3', 1, '{}')")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.caughtUp("n1", "n2", "n3")
	c.equal("n1", "n2", "n3")
}

// Whichever node of a mesh of Spock is lost, with a gap of every type and a table in
// parts, it is healed and taken back.
func TestSpockHealsWhicheverIsLost(t *testing.T) {
	t.Parallel()
	// Spock up to 5.0.11 sends generated columns, and fails to apply them.
	schema := regexp.MustCompile(`,\s*twice numeric [^)]*\) STORED`).ReplaceAllString(anything, "")
	if schema == anything {
		t.Fatal("the table has no generated column any more")
	}
	c := newCluster(t, localpg.Options{Engine: localpg.Spock, Schema: []string{schema}}, nil)
	c.startAll()
	c.losesEach(false)
}
