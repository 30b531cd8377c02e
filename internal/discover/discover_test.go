package discover_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/config"
	"healer/internal/app"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/discover"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/grants"
)

const secret = "not in any file"

func check(dsn string) (string, error) {
	e, err := postgres.ParseEndpoint(dsn)
	return e.String(), err
}

func healer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, say bytes.Buffer
	code = cli.App{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &say, Build: build.Read("v1"), CheckDSN: check,
		Commands: []*cobra.Command{discover.Command(check, nil)},
	}.Run(t.Context(), args)
	if strings.Contains(out.String()+say.String(), secret) {
		t.Errorf("healer %v shows the password", args)
	}
	return code, out.String(), say.String()
}

// TestInit makes the file of a real mesh as a role that is no superuser, with a
// password that stands in a passfile, and starts the agents with it.
func TestInit(t *testing.T) {
	t.Parallel()
	mesh := pgtest.Mesh(t, localpg.Options{Scram: true, Schema: []string{"CREATE TABLE kv (k bigint PRIMARY KEY, v text)"}})
	ctx := t.Context()
	exec := func(node, sql string) {
		t.Helper()
		if err := mesh.Exec(ctx, node, sql); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	passfile := filepath.Join(dir, "pgpass")
	if err := os.WriteFile(passfile, []byte("*:*:*:healer:"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range mesh.Names() {
		exec(n, "CREATE ROLE healer LOGIN PASSWORD '"+secret+"'")
	}
	exec("n1", "CREATE DATABASE lonely")
	exec("n2", "SELECT pg_create_logical_replication_slot('warehouse', 'pgoutput')")
	n2 := mesh.Node("n2")
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d dbname=app user=healer passfile=%s", n2.Port(), passfile)
	file := filepath.Join(dir, "healer.yaml")

	code, _, say := healer(t, "init", "--dsn", dsn, "--out", file)
	remedy := `GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO "healer"`
	if code != 1 || !strings.Contains(say, remedy) {
		t.Fatalf("exit code %d:\n%s", code, say)
	}
	for _, n := range mesh.Names() {
		for _, s := range grants.Statements("healer") {
			exec(n, s.SQL)
		}
	}
	code, out, say := healer(t, "init", "--dsn", dsn, "--out", file, "--cluster", "shop", "-o", "json")
	var got struct {
		Written bool
		Nodes   []struct{ Name, DSN string }
		Notes   []string
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || !got.Written || len(got.Nodes) != 3 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, say)
	}
	if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, "slot warehouse on ") {
		t.Errorf("the slot that feeds nobody is not told:\n%s", notes)
	}
	for _, s := range mesh.Nodes() {
		want := fmt.Sprintf("port=%d dbname=app user=healer passfile=%s", s.Port(), passfile)
		for _, n := range got.Nodes {
			if n.Name == s.Name() && !strings.Contains(n.DSN, want) {
				t.Errorf("%s is at %s: want %s", n.Name, n.DSN, want)
			}
		}
	}
	if code, out, say := healer(t, "config", "check", "--config", file); code != 0 || !strings.Contains(out, "cluster shop, 3 nodes (n1, n2, n3), engine native") {
		t.Errorf("config check: exit code %d\n%s%s", code, out, say)
	}
	if code, _, say := healer(t, "init", "--dsn", dsn, "--out", file); code != 1 || !strings.Contains(say, "--force") {
		t.Errorf("over a file that is there: exit code %d\n%s", code, say)
	}
	if code, _, say := healer(t, "init", "--dsn", mesh.Node("n3").DSNFor("lonely"), "--dry-run"); code != 1 {
		t.Errorf("a database that is not there: exit code %d\n%s", code, say)
	}
	if code, _, say := healer(t, "init", "--dsn", mesh.Node("n1").DSNFor("lonely"), "--dry-run"); code != 1 || !strings.Contains(say, "no other server read from each other") {
		t.Errorf("a database without subscriptions: exit code %d\n%s", code, say)
	}
	agentsStart(t, file)
}

// agentsStart runs the agents of a file, at ports that are free.
func agentsStart(t *testing.T, file string) {
	t.Helper()
	c, err := config.Load(file, check)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Gossip, n.API, n.NATS.Client, n.NATS.Cluster = pgtest.Addr(t), pgtest.Addr(t), pgtest.Addr(t), pgtest.Addr(t)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(c.Nodes))
	for _, n := range c.Nodes {
		dir := t.TempDir()
		go func() {
			ended <- app.Run(ctx, app.Options{Config: c, Node: n.Name, DataDir: dir, Version: "test", Log: slog.New(slog.DiscardHandler)})
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range c.Nodes {
			if err := <-ended; err != nil {
				t.Errorf("an agent: %v", err)
			}
		}
	})
	pgtest.Eventually(t, 90*time.Second, "the agents find the mesh healthy", func() error {
		var errs []error
		for _, n := range c.Nodes {
			s, err := api.FetchStatus(ctx, http.DefaultClient, n.API)
			if err == nil && s.State != api.Healthy {
				err = fmt.Errorf("%s: %s %v", n.Name, s.State, s.Reasons)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// TestInitOfPglogical and TestInitOfSpock find a mesh from one of its nodes, and take the
// names that it has there. Who forwards what it was sent is no part of it. The second runs
// where HEALER_SPOCK_BINDIR names a PostgreSQL with Spock.
func TestInitOfPglogical(t *testing.T) {
	t.Parallel()
	initOf(t, localpg.Pglogical)
}

func TestInitOfSpock(t *testing.T) {
	t.Parallel()
	initOf(t, localpg.Spock)
}

func initOf(t *testing.T, engine string) {
	t.Helper()
	mesh := pgtest.Mesh(t, localpg.Options{Engine: engine, Names: []string{"berlin", "oslo", "rome"}, Schema: []string{"CREATE TABLE kv (k bigint PRIMARY KEY, v text)"}})
	file := filepath.Join(t.TempDir(), "healer.yaml")
	code, out, say := healer(t, "init", "--dsn", mesh.Node("oslo").DSN(), "--out", file, "--cluster", "shop", "-o", "json")
	var got struct {
		Engine, NamedBy string
		Nodes           []struct {
			Name  string
			Reads []string `json:"reads_from"`
		}
		Notes []string
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || got.Engine != engine || len(got.Nodes) != 3 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, say)
	}
	for i, name := range []string{"berlin", "oslo", "rome"} {
		if n := got.Nodes[i]; n.Name != name || len(n.Reads) != 2 {
			t.Errorf("node %+v, want %s", n, name)
		}
	}
	if code, out, say := healer(t, "config", "check", "--config", file); code != 0 || !strings.Contains(out, "3 nodes (berlin, oslo, rome), engine "+engine) {
		t.Errorf("config check: exit code %d\n%s%s", code, out, say)
	}
	if err := mesh.Exec(t.Context(), "rome", "UPDATE "+engine+".subscription SET sub_forward_origins = '{all}' WHERE sub_name LIKE '%berlin'"); err != nil {
		t.Fatal(err)
	}
	code, out, say = healer(t, "init", "--dsn", mesh.Node("oslo").DSN(), "--dry-run")
	if code != 0 || !strings.Contains(out+say, "takes changes of every origin") || !strings.Contains(out+say, "forward_origins := '{}'") {
		t.Errorf("exit code %d\n%s%s", code, out, say)
	}
}
