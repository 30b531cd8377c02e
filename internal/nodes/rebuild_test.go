package nodes_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/events"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/nodes"
	"healer/postgres"
	"healer/topology"
)

// childEnv makes this test's binary the command itself, to be killed.
const childEnv = "HEALER_NODES_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		m.Run()
		return
	}
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	os.Exit(cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Build: build.Read("v1"), CheckDSN: check,
		NodeCommands: nodes.Commands(check),
	}.Run(context.Background(), os.Args[1:]))
}

// rebuiltDoc is what the JSON of a rebuild says, as far as these tests read it.
type rebuiltDoc struct {
	Source       string
	Verified     bool
	Resumed      bool
	Steps        []string
	RowsCopied   int64 `json:"rows_copied"`
	RowsCompared int64 `json:"rows_compared"`
	PauseMS      int64 `json:"pause_ms"`
	Event        string
	Notes        []string
	Sequences    []struct {
		Sequence string
		Next     int64
	}
}

// filtered is what makes a node send only some of the tickets.
func filtered(rows string) string {
	return `DROP PUBLICATION mesh; CREATE PUBLICATION mesh FOR TABLE account, entry, loose, "Odd"."Name", ticket WHERE (` + rows + `)`
}

// filter lets all nodes send only some of the tickets, and gives n2 and n3 others of
// their own.
func (l *lab) filter() {
	l.t.Helper()
	for _, n := range l.mesh.Names() {
		l.exec(n, filtered("id < 1000"))
	}
	l.exec("n2", `INSERT INTO ticket VALUES (5000, 'n2 alone')`)
	l.exec("n3", `INSERT INTO ticket VALUES (5000, 'n3 alone'), (6000, 'n3 alone')`)
	l.must(l.mesh.WaitCaughtUp(l.t.Context()))
}

// tickets: n1 has those that are sent, and gives new ones numbers of its own series, which
// nobody has; a sequence of no table is named.
func (l *lab) tickets(d rebuiltDoc) {
	l.t.Helper()
	if got := value[string](l, "n1", `SELECT count(*) || ' ' || max(id) FROM ticket`); got != "150 150" {
		l.t.Errorf("n1 has other tickets than are sent: %s", got)
	}
	if len(d.Sequences) != 1 || d.Sequences[0].Sequence != "public.ticket_id_seq" || d.Sequences[0].Next != 3148 {
		l.t.Errorf("sequences set: %+v", d.Sequences)
	}
	if len(d.Notes) == 0 || !strings.Contains(strings.Join(d.Notes, "\n"), "sequence public.apart belongs to no column") {
		l.t.Errorf("notes: %q", d.Notes)
	}
	l.exec("n1", `INSERT INTO ticket (what) VALUES ('new')`)
	if got := value[int64](l, "n1", `SELECT id FROM ticket WHERE what = 'new'`); got != 3148 {
		l.t.Errorf("n1 gives ticket %d", got)
	}
}

// replace puts a server of another identity, without any data, in n1's place.
func (l *lab) replace(major int, prepare bool) {
	l.t.Helper()
	ctx := l.t.Context()
	other := pgtest.Server(l.t, localpg.ServerOptions{Name: "other", Major: major})
	dir := filepath.Join(l.t.TempDir(), "other")
	l.must(other.Stop(ctx, localpg.Fast), other.SaveData(dir))
	l.must(l.mesh.Node("n1").LoadData(dir), l.mesh.Node("n1").Start(ctx))
	if prepare {
		l.exec("n1", schema)
		l.exec("n1", "CREATE PUBLICATION mesh FOR ALL TABLES")
	}
}

// writes writes on a node until the returned function is called, each transaction
// over several tables. It tells how many there were.
func (l *lab) writes(node string) (stop func() int64) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := l.mesh.Node(node).Connect(ctx)
	l.must(err)
	var n int64
	var wg sync.WaitGroup
	wg.Go(func() {
		defer conn.Close(context.Background())
		for ctx.Err() == nil {
			_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN;
				INSERT INTO entry VALUES ('%[1]s', %[2]d, 'live'); INSERT INTO loose VALUES ('%[1]s', %[2]d);
				UPDATE account SET amount = amount + 1 WHERE owner = '%[1]s' AND id %% 500 = %[2]d %% 500;
				DELETE FROM entry WHERE region = '%[1]s' AND no = %[2]d - 40 AND no %% 3 = 0; COMMIT`, node, 10_000+n))
			if err != nil {
				l.t.Errorf("write on %s: %v", node, err)
				return
			}
			n++
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	return func() int64 {
		cancel()
		wg.Wait()
		return n
	}
}

// whole waits until all nodes hold the same, with every write there once, and lets
// each node write to all.
func (l *lab) whole(written map[string]int64) {
	l.t.Helper()
	for _, n := range l.mesh.Names() {
		l.exec(n, `INSERT INTO "Odd"."Name" VALUES ('after on `+n+`', '{}')`)
	}
	l.eventually("all nodes hold the same", func() error {
		first := l.rows("n1")
		for _, n := range l.mesh.Names() {
			if got := value[int64](l, n, `SELECT count(*) FROM "Odd"."Name" WHERE "The Key" LIKE 'after on %'`); got != 3 {
				return fmt.Errorf("%s has %d of the 3 last rows", n, got)
			}
			if l.rows(n) != first {
				return fmt.Errorf("%s and n1 differ", n)
			}
		}
		return nil
	})
	for writer, want := range written {
		if got := value[int64](l, "n1", `SELECT count(*) FROM loose WHERE writer = $1`, writer); got != want {
			l.t.Errorf("n1 has %d rows of %s in a table without a key, of %d written", got, writer, want)
		}
	}
	for _, n := range l.mesh.Names() {
		if got := value[int64](l, n, `SELECT (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:%')
			+ (SELECT count(*) FROM pg_subscription WHERE NOT subenabled)
			+ (SELECT count(*) FROM pg_replication_slots WHERE NOT active AND slot_name NOT LIKE 'sub_n1_from%')`); got != 0 {
			l.t.Errorf("%d marks, disabled subscriptions or idle slots are left on %s", got, n)
		}
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	for major, from := range map[int]string{18: "n2", 17: "n3", 16: "n2"} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, major)
			l.fill()
			if major == 17 {
				l.filter()
			}
			l.lose()
			l.fails("failed to connect", "rebuild", "n1", "--yes")
			l.replace(major, true)
			if major == 17 {
				l.exec("n1", filtered("id < 1000"))
				l.exec("n3", filtered("id < 2000"))
				l.fails("public.ticket: n3 sends rows WHERE (id < 2000), n2 sends rows WHERE (id < 1000)", "rebuild", "n1", "--schema-prepared", "--yes", "--from", from)
				l.exec("n3", filtered("id < 1000"))
			}
			written := map[string]func() int64{"n2": l.writes("n2"), "n3": l.writes("n3")}

			var d rebuiltDoc
			l.ok(&d, "rebuild", "n1", "--schema-prepared", "--dry-run", "--from", from)
			if d.Verified || len(d.Steps) != 7 || value[int64](l, "n1", `SELECT count(*) FROM account`) != 0 {
				t.Errorf("dry run: %+v", d)
			}
			l.ok(&d, "rebuild", "n1", "--schema-prepared", "--yes", "--from", from)
			if !d.Verified || d.Source != from || d.RowsCopied < 2100 || d.RowsCompared < d.RowsCopied || d.Event != "published" {
				t.Errorf("rebuilt: %+v", d)
			}
			l.tickets(d)
			t.Logf("PostgreSQL %d: the source stood still for %d ms", major, d.PauseMS)
			l.event(events.NodeRejoined)
			l.whole(map[string]int64{"n2": written["n2"](), "n3": written["n3"]()})
		})
	}
}

// What keeps a rebuild from beginning is said with its remedy, and nothing is
// touched.
func TestRebuildRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, 18)
	l.fill()
	l.fails("no verified recovery", "rebuild", "n1", "--yes")
	l.fails("table Odd.Name has rows", "rebuild", "n1", "--yes", "--force")
	l.fails("--from n9", "rebuild", "n1", "--yes", "--force", "--wipe", "--from", "n9")
	l.lose()
	l.replace(18, false)
	// Marks that nothing else lifts.
	e := l.engine()
	for _, n := range []string{"n2", "n3"} {
		l.must(e.Bar(t.Context(), n, "n1", "behind_watermark", topology.Identity{SystemID: 1}), e.Owe(t.Context(), n, "n1", "n2"))
	}
	none := t.TempDir()
	l.fails("there is no pg_dump", "rebuild", "n1", "--yes", "--pg-bin", none)
	l.must(os.WriteFile(filepath.Join(none, "pg_dump"), []byte("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.9'\n"), 0o755))
	l.fails("of version 15 and cannot dump PostgreSQL 18", "rebuild", "n1", "--yes", "--pg-bin", none)
	l.fails("it has not Odd.Name, public.account", "rebuild", "n1", "--yes", "--schema-prepared")

	// What a pg_dump of the right version writes is run as it stands.
	dump := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 18.0'; exit; fi\n" +
		"case \"$*\" in *--schema-only*--no-subscriptions*) ;; *) echo \"called with $*\" >&2; exit 1;; esac\ncat <<'END'\n" +
		"\\restrict abc\nSET search_path = public;\n" + schema + ";\nCREATE PUBLICATION mesh FOR ALL TABLES;\n\\unrestrict abc\nEND\n"
	l.must(os.WriteFile(filepath.Join(none, "pg_dump"), []byte(dump), 0o755))
	var d rebuiltDoc
	l.ok(&d, "rebuild", "n1", "--yes", "--pg-bin", none)
	l.whole(nil)
}

// Killed in every stage, it is run again and ends as if it never had been.
func TestRebuildKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, 18)
	l.fill()
	l.lose()
	l.replace(18, true)
	l.exec("n2", `INSERT INTO account SELECT i, 'n2', i FROM generate_series(100000, 160000) i`)
	stop := l.writes("n3")
	for _, at := range []string{"fence", "clear", "slots", "copy", "public.loose", "catch_up", "back", "verify"} {
		l.killAt(at)
	}
	var d rebuiltDoc
	l.ok(&d, "rebuild", "n1", "--schema-prepared", "--yes")
	if !d.Verified || !d.Resumed {
		t.Errorf("rebuilt: %+v", d)
	}
	l.whole(map[string]int64{"n3": stop()})
}

// killAt runs the command as a process of its own and kills it as soon as it says
// the word, if it does.
func (l *lab) killAt(word string) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), os.Args[0], "node", "rebuild", "n1", "--schema-prepared", "--yes", "--config", l.file)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	said, err := cmd.StderrPipe()
	l.must(err, cmd.Start())
	var all strings.Builder
	killed := false
	for lines := bufio.NewScanner(said); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), word) {
			l.must(cmd.Process.Kill())
			killed = true
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !killed || !errors.As(err, &exit) {
		l.t.Fatalf("to be killed at %q, it ended with %v:\n%s", word, err, &all)
	}
}
