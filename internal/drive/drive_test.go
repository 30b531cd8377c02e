package drive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/drive"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/topology"
)

// lab is a mesh with recovery slots, and the file of it.
type lab struct {
	t    *testing.T
	mesh *localpg.Mesh
	file string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, file: filepath.Join(t.TempDir(), "cluster.yaml")}
	l.mesh = pgtest.Mesh(t, localpg.Options{Schema: []string{
		"CREATE TABLE kv (k bigint PRIMARY KEY, v text)", "CREATE TABLE log (v text)",
	}})
	var b strings.Builder
	b.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	servers := map[string]*postgres.Server{}
	for i, s := range l.mesh.Nodes() {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: 127.0.0.1:%d\n    api: 127.0.0.1:%d\n", s.Name(), s.DSN(), i+1, i+101)
		server, err := postgres.Open(s.Name(), s.DSN())
		l.try(err)
		defer server.Close()
		servers[s.Name()] = server
	}
	l.try(os.WriteFile(l.file, []byte(b.String()), 0o600))
	e := native.New(engine.Options{Cluster: "app", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	defer e.Close()
	for _, node := range l.mesh.Names() {
		for _, peer := range l.mesh.Names() {
			if node != peer {
				l.try(e.CreateSeed(t.Context(), node, peer))
				l.try(e.Promote(t.Context(), node, peer))
			}
		}
	}
	return l
}

func (l *lab) try(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// healer runs a command, wants that exit code, and each of the words in what it
// writes.
func (l *lab) healer(code int, args string, want ...string) string {
	l.t.Helper()
	got, out := l.run("no\n", args)
	if got != code {
		l.t.Errorf("healer %s: exit code %d, want %d:\n%s", args, got, code, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			l.t.Errorf("healer %s: no %q in\n%s", args, w, out)
		}
	}
	return out
}

// run runs a command with something typed.
func (l *lab) run(typed, args string) (code int, said string) {
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	var out bytes.Buffer
	app := cli.App{
		Stdin: strings.NewReader(typed), Stdout: &out, Stderr: &out, Environ: []string{"NO_COLOR=1"},
		Build: build.Read("v1"), CheckDSN: check,
		Commands: []*cobra.Command{drive.SlotsCommand(check)}, RecoveryCommands: drive.RecoveryCommands(check),
	}
	code = app.Run(l.t.Context(), append(strings.Fields(args), "--config", l.file))
	return code, out.String()
}

func (l *lab) value(node, sql string) string {
	l.t.Helper()
	v, err := localpg.Value[string](l.t.Context(), l.mesh.Node(node), sql)
	l.try(err)
	return v
}

func TestByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	l.try(l.mesh.Exec(ctx, "n1", "INSERT INTO kv VALUES (1, 'both')"))
	l.try(l.mesh.WaitCaughtUp(ctx))

	// All have the same.
	l.healer(0, "recovery plan --failed n1", "n1 answers", "survivors: n2, n3", "1. fence n2")
	l.healer(2, "recovery plan --failed n1 --detailed-exitcode")
	l.healer(0, "recovery watermark --failed n1", "may still grow", "n2    ", "n3    ")

	// n3 falls behind: this is what the loss of n1 would ask for.
	busy, err := l.mesh.Node("n3").Connect(ctx)
	l.try(err)
	defer func() { _ = busy.Close(context.WithoutCancel(ctx)) }()
	_, err = busy.Exec(ctx, "BEGIN; LOCK TABLE kv")
	l.try(err)
	l.try(l.mesh.Exec(ctx, "n1", "INSERT INTO kv VALUES (2, 'n2 only')"))
	l.try(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.healer(0, "recovery plan --failed n1", "source: n2", "gap: n3 gets", "subscribe n2 -> n3")
	var plan struct {
		Source string
		Lanes  []struct{ Target, Slot, Clone string }
		Lost   []string
	}
	l.try(json.Unmarshal([]byte(l.healer(0, "recovery plan --failed n1 -o json")), &plan))
	if plan.Source != "n2" || len(plan.Lanes) != 1 || plan.Lanes[0].Target != "n3" || fmt.Sprint(plan.Lost) != "[n1]" {
		t.Errorf("plan %+v", plan)
	}
	var marks struct {
		Min, Max topology.LSN
		Nodes    []struct {
			Node   string
			Source bool
		}
	}
	l.try(json.Unmarshal([]byte(l.healer(0, "recovery watermark --failed n1 -o json")), &marks))
	if marks.Min >= marks.Max || len(marks.Nodes) != 2 || marks.Nodes[0].Node != "n2" || !marks.Nodes[0].Source || marks.Nodes[1].Source {
		t.Errorf("watermarks %+v", marks)
	}

	// What nobody could do is refused with the reason.
	slot := plan.Lanes[0].Slot
	l.healer(1, "slots drop --node n2 --slot "+slot, "holds what n3 may lack", "--yes "+slot)
	l.healer(0, "slots drop --node n2 --dry-run --slot "+slot+" --yes "+slot, "would have", "dropped")

	// The clone of a recovery, by hand.
	clone := plan.Lanes[0].Clone
	l.healer(0, "slots clone --node n2 --for n3 --failed n1 --dry-run", "would have", clone)
	l.healer(0, "slots clone --node n2 --for n3 --failed n1", clone)
	l.healer(0, "slots list", clone, slot, "recovery", "clone", "mesh")
	l.try(l.mesh.Exec(ctx, "n2", "INSERT INTO kv VALUES (3, 'n2 itself')"))
	at := l.value("n2", "SELECT to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM kv WHERE k = 3")
	advance := "slots advance --node n2 --slot " + clone
	said := l.healer(0, advance+" --dry-run --to-time "+at, "the first transaction of")
	if again := l.healer(0, advance+" --to-time "+at, "moved from"); strings.TrimPrefix(said, "would have: ") != again {
		t.Errorf("dry run and run differ:\n%s%s", said, again)
	}
	// It has the transaction still, and not the one before.
	if got := l.value("n2", `SELECT string_agg(convert_from(substring(data FROM position('n2 ' in data)), 'UTF8'), ',')
		FROM pg_logical_slot_peek_binary_changes('`+clone+`', NULL, NULL, 'proto_version', '1', 'publication_names', 'mesh', 'origin', 'any')
		WHERE get_byte(data, 0) = ascii('I')`); got != "n2 itself" {
		t.Errorf("behind the clone is %q", got)
	}
	l.healer(1, advance+" --to-time "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "no published transaction", "name an earlier time")
	l.healer(0, advance+" --to-lsn "+l.value("n2", "SELECT pg_current_wal_flush_lsn()::text"), "moved from")
	l.healer(0, "slots drop --node n2 --slot "+clone, "dropped")
	l.healer(1, "slots drop --node n2 --slot "+clone, "there is no logical slot")

	// What is not Healer's, and what is no slot at all.
	theirs := localpg.SubscriptionName("n1", "n2")
	l.healer(1, "slots advance --node n2 --to-lsn 0/1 --slot "+theirs+" --yes "+theirs, "is not one of Healer's")
	l.healer(1, "slots drop --node n2 --slot "+theirs, "is not one of Healer's", "--yes "+theirs)
	l.healer(64, "slots drop --node n9 --slot x", "--node n9: the file has no such node, but n1, n2, n3")
	l.healer(64, "slots advance --node n2 --slot x", "give either --to-lsn or --to-time")
	l.healer(64, "recovery plan", "--failed is missing: name one of n1, n2, n3")

	// Nothing to decode with: the plan says so, and one that is fenced refuses.
	l.healer(0, "slots drop --node n2 --slot "+slot+" --yes "+slot, "dropped")
	l.healer(0, "recovery plan --failed n1", "as it looks now nothing can be carried", "slot_missing")
}
