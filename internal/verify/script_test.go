package verify_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/cli/clitest"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/verify"
	"healer/postgres"
)

var shared pgtest.Shared

type tests struct{ m *testing.M }

func (t tests) Run() int { return shared.Run(t.m) }

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"healer": func() { os.Exit(healer()) }})
}

// healer is the program with nothing but this command.
func healer() int {
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	return cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		Build: build.Read("v1"), CheckDSN: check, Commands: []*cobra.Command{verify.Command(check)},
	}.Run(context.Background(), os.Args[1:])
}

// schema is that of the script's mesh: tables whole, without a key, empty, in part,
// and one that the mesh does not replicate.
func schema() []string {
	return []string{
		`create table big (id int primary key, v text)`,
		`create table "Odd Name" ("The Key" text primary key, v int)`,
		`create table empty (id int primary key)`,
		`create table loose (v text)`, `alter table loose replica identity full`,
		`create schema other`, `create table other.part (id int primary key, v int)`,
		`create table alone (id int primary key)`,
	}
}

// TestScript runs the command against a mesh of three nodes. A script has the
// commands
//
//	sql NODE STATEMENT      run SQL
//	hidden NODE STATEMENT   run SQL that the mesh does not replicate
//	settle                  wait until all nodes have all
//	code N prog args...     want just that exit code
//
// and $DIR/cluster.yaml, the file of its mesh; dead.yaml has a node nobody serves, stop.yaml
// another policy.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			name := filepath.Base(env.WorkDir)
			mesh := shared.Mesh(t, name, localpg.Options{
				Schema: schema(), Tables: []string{"big", `"Odd Name"`, "empty", "loose", "other.part"},
			})
			env.Values["mesh"] = mesh
			for _, f := range []struct{ name, file string }{
				{"cluster.yaml", clusterFile(mesh, "")},
				{"dead.yaml", clusterFile(mesh, "n3")},
				{"stop.yaml", clusterFile(mesh, "") + "recovery: {conflicts: stop}\n"},
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, f.name), []byte(f.file), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": clitest.Code, "sql": sql(""), "settle": settle,
			// An origin of its own keeps a change from being sent on.
			"hidden": sql(`set session_replication_role = replica;
				do $$ begin if pg_replication_origin_oid('test') is null then perform pg_replication_origin_create('test'); end if; end $$;
				select pg_replication_origin_session_setup('test');`),
		},
	})
}

func clusterFile(m *localpg.Mesh, dead string) string {
	var b strings.Builder
	b.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, s := range m.Nodes() {
		dsn := s.DSN()
		if s.Name() == dead {
			dsn = "host=127.0.0.1 port=1 dbname=app user=nobody"
		}
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: 127.0.0.1:%d\n    api: 127.0.0.1:%d\n", s.Name(), dsn, i+1, i+101)
	}
	return b.String()
}

func meshOf(ts *testscript.TestScript) *localpg.Mesh {
	m, ok := ts.Value("mesh").(*localpg.Mesh)
	if !ok {
		ts.Fatalf("no mesh")
	}
	return m
}

func sql(before string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: sql NODE STATEMENT")
		}
		ts.Check(meshOf(ts).Exec(context.Background(), args[0], before+args[1]))
	}
}

func settle(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(meshOf(ts).WaitCaughtUp(ctx))
}
