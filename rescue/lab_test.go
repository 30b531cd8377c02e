package rescue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// lab is a mesh of three real servers in which n1 is lost, n2 is the source and
// n3 the laggard.
type lab struct {
	*testing.T
	m      *localpg.Mesh
	tables []topology.TableName
	// floor is n3's progress before the gap, until n2's flushed LSN at the fence.
	floor, until topology.LSN
	clones       int
	// again is how often a gap was read once more.
	again int
	// clashWait is Gap.ClashWait.
	clashWait time.Duration
	// conflicts is the policy of replays and comparisons.
	conflicts Resolution
	// format makes the streams' Format; nil is pgoutput.
	format func() Format
}

const recoverySlot = "spock_app_recovery_n2_n3"

// newLab starts the mesh, runs seed on n1, waits until everyone has it, makes
// the recovery slot on n2 and cuts the stream from n1 to n3.
func newLab(t *testing.T, schema []string, seed ...string) *lab {
	t.Helper()
	return newLabOf(t, 3, schema, seed...)
}

// newLabOf has so many servers: all from n3 on are laggards.
func newLabOf(t *testing.T, nodes int, schema []string, seed ...string) *lab {
	t.Helper()
	return newLabWith(t, localpg.Options{Nodes: nodes, Links: true, Schema: schema}, nil, seed...)
}

// newLabWith has a mesh with these options, which prepare may change further before
// anything is written.
func newLabWith(t *testing.T, opts localpg.Options, prepare func(*lab), seed ...string) *lab {
	t.Helper()
	l := &lab{T: t, m: pgtest.Mesh(t, opts)}
	if prepare != nil {
		prepare(l)
	}
	for _, sql := range seed {
		l.exec("n1", sql)
	}
	l.caughtUp()
	l.exec("n2", `select pg_create_logical_replication_slot('`+recoverySlot+`', 'pgoutput')`)
	for _, n := range l.survivors()[1:] {
		l.m.Link("n1", n).Cut()
	}
	rows, err := localpg.Rows(t.Context(), l.m.Node("n3"), func(r pgxRow) (topology.TableName, error) {
		var n topology.TableName
		err := r.Scan(&n.Schema, &n.Name)
		return n, err
	}, `select schemaname::text, tablename::text from pg_publication_tables where pubname = $1`, localpg.Publication)
	l.must(err)
	l.tables = rows
	l.floor = l.progress("n3")
	return l
}

// survivors are all nodes but n1.
func (l *lab) survivors() []string { return l.m.Names()[1:] }

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) exec(node, sql string) {
	l.Helper()
	_, err := l.m.Node(node).Exec(l.Context(), sql)
	l.must(err)
}

func (l *lab) caughtUp(nodes ...string) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	l.must(l.m.WaitCaughtUp(ctx, nodes...))
}

func (l *lab) text(node, sql string) string {
	l.Helper()
	v, err := localpg.Value[string](l.Context(), l.m.Node(node), sql)
	l.must(err)
	return v
}

func (l *lab) lsn(node, sql string) topology.LSN {
	l.Helper()
	v, err := topology.ParseLSN(l.text(node, sql))
	l.must(err)
	return v
}

// progress is what the node has applied of n1.
func (l *lab) progress(node string) topology.LSN {
	l.Helper()
	return l.lsn(node, `select coalesce(pg_replication_origin_progress('`+l.origin(node, "n1")+`', false), '0/0')::text`)
}

// origin names the node's replication origin for a provider.
func (l *lab) origin(node, provider string) string {
	l.Helper()
	return l.text(node, `select 'pg_' || oid from pg_subscription where subname = '`+
		localpg.SubscriptionName(node, provider)+`'`)
}

// authors maps a node's origins to the nodes of the mesh.
func (l *lab) authors(node string) map[string]string {
	l.Helper()
	out := map[string]string{}
	for _, p := range l.m.Names() {
		if p != node {
			out[l.origin(node, p)] = p
		}
	}
	return out
}

// lose lets n2 have all of n1, kills n1 and fences n2 and n3 from it.
func (l *lab) lose() {
	l.Helper()
	l.caughtUp("n1", "n2")
	l.must(l.m.Kill(l.Context(), "n1"))
	for _, n := range l.survivors() {
		l.exec(n, `alter subscription `+localpg.SubscriptionName(n, "n1")+` disable`)
		l.eventually("the apply worker of "+n+" ends", func() bool {
			return l.text(n, `select count(*)::text from pg_stat_subscription where pid is not null and subname = '`+
				localpg.SubscriptionName(n, "n1")+`'`) == "0"
		})
	}
	l.until = l.flushed("n2")
}

// flushed makes everything the node has committed durable, and says how far
// that is.
func (l *lab) flushed(node string) topology.LSN {
	l.Helper()
	l.exec(node, `set synchronous_commit = on; select pg_logical_emit_message(true, 'rescue', 'flush')`)
	return l.lsn(node, `select pg_current_wal_flush_lsn()::text`)
}

func (l *lab) eventually(what string, cond func() bool) {
	l.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			l.Fatalf("it did not come to pass that %s", what)
		}
	}
}

func (l *lab) connect(node, extra string) *pgconn.PgConn {
	l.Helper()
	conn, err := pgconn.Connect(l.Context(), l.m.Node(node).DSN()+" "+extra)
	l.must(err)
	l.Cleanup(func() { _ = conn.Close(context.WithoutCancel(l.Context())) })
	return conn
}

// clone copies the recovery slot.
func (l *lab) clone() string {
	l.Helper()
	l.clones++
	name := fmt.Sprintf("clone_%d_c", l.clones)
	l.exec("n2", `select pg_copy_logical_replication_slot('`+recoverySlot+`', '`+name+`', false, 'pgoutput')`)
	return name
}

func (l *lab) gap() Gap {
	l.Helper()
	return Gap{
		Origin: "n1", Source: "n2", SourceOrigin: l.origin("n2", "n1"),
		Floor: l.floor, Watermark: l.progress("n2"), Tables: l.tables, Authors: l.authors("n2"),
		Settle: func(ctx context.Context) (topology.LSN, error) {
			if err := l.m.WaitCaughtUp(ctx, l.survivors()...); err != nil {
				return 0, err
			}
			return l.flushed("n2"), nil
		},
	}
}

func (l *lab) target() Target { return l.targetOf("n3") }

func (l *lab) targetOf(node string) Target {
	l.Helper()
	return Target{Node: node, Origin: "n1", OriginName: l.origin(node, "n1"), Authors: l.authors(node), Conflicts: l.conflicts}
}

func (l *lab) stream(slot string) *Stream {
	l.Helper()
	opts := StreamOptions{Node: "n2", Slot: slot, Publications: []string{localpg.Publication}, Until: l.until}
	if l.format != nil {
		opts.Format = l.format()
	}
	s, err := OpenStream(l.Context(), l.connect("n2", "replication=database"), opts)
	l.must(err)
	return s
}

// replay carries the gap over to n3 in one go.
func (l *lab) replay() (Report, *Touched, error) { return l.replayTo("n3") }

func (l *lab) replayTo(node string) (Report, *Touched, error) {
	l.Helper()
	return l.replayGap(node, l.gap())
}

func (l *lab) replayGap(node string, gap Gap) (Report, *Touched, error) {
	l.Helper()
	s, err := NewSession(l.Context(), l.connect(node, ""), l.targetOf(node))
	l.must(err)
	defer func() { l.must(s.Close(l.Context())) }()
	slot := l.clone()
	stream := l.stream(slot)
	defer l.drop(slot)
	defer func() { l.must(stream.Close(l.Context())) }()
	gap.ClashWait = l.clashWait
	gap.Again = func(ctx context.Context) (*Stream, error) {
		l.must(stream.Close(ctx))
		l.eventually("the slot is free", func() bool {
			return l.text("n2", `select active::text from pg_replication_slots where slot_name = '`+slot+`'`) == "false"
		})
		l.again++
		l.until = l.flushed("n2")
		stream = l.stream(slot)
		return stream, nil
	}
	gap.Concede = func(ctx context.Context, c Concession) (bool, error) { return Concede(ctx, l.peers(), node, c) }
	return Replay(l.Context(), s, stream, gap)
}

// drop drops a slot of n2 as soon as its walsender has ended.
func (l *lab) drop(slot string) {
	l.Helper()
	l.eventually("slot "+slot+" is dropped", func() bool {
		_, err := l.m.Node("n2").Exec(l.Context(), `select pg_drop_replication_slot('`+slot+`')`)
		return err == nil
	})
}

// dump is the contents of a table with each row's commit timestamp. Columns may
// follow the table, as in "t (a, b)".
func (l *lab) dump(node, table string) string {
	l.Helper()
	row := "t"
	if at := strings.LastIndex(table, " ("); at > 0 {
		table, row = table[:at], "row"+table[at+1:]
	}
	return l.text(node, `select coalesce(string_agg(`+row+`::text || ' ' || pg_xact_commit_timestamp(t.xmin)::text, e'\n' order by `+row+`::text), '')
		from `+table+` t`)
}

// same fails the test unless the tables are equal on n2 and n3, down to the
// commit timestamps.
func (l *lab) same(tables ...string) {
	l.Helper()
	for _, t := range tables {
		if a, b := l.dump("n2", t), l.dump("n3", t); a != b {
			l.Errorf("table %s differs:\nn2:\n%s\nn3:\n%s", t, head(a), head(b))
		}
	}
}

func head(s string) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[:min(len(lines), 20)], "")
}

// verify compares and repairs the survivors.
func (l *lab) verify(touched ...*Touched) (VerifyReport, error) {
	l.Helper()
	return Verify(l.Context(), l.peers(), touched, func(ctx context.Context) error {
		return l.m.WaitCaughtUp(ctx, l.survivors()...)
	}, Policy{Conflicts: l.conflicts})
}

// peers are connections to the survivors.
func (l *lab) peers() []Peer {
	l.Helper()
	var peers []Peer
	for _, n := range slices.Backward(l.survivors()) {
		peers = append(peers, Peer{Node: n, Conn: l.connect(n, ""), Authors: l.authors(n)})
	}
	return peers
}

// heal replays, verifies and expects both to succeed.
func (l *lab) heal() (Report, VerifyReport) {
	l.Helper()
	report, touched, err := l.replay()
	l.must(err)
	verified, err := l.verify(touched)
	l.must(err)
	return report, verified
}

// watch makes a slot on n3 which sees everything n3 commits from now on.
func (l *lab) watch() {
	l.Helper()
	l.exec("n3", `select pg_create_logical_replication_slot('watch', 'pgoutput')`)
}

// watched decodes what n3 has committed since watch, of any origin or of those
// which the mesh forwards: none.
func (l *lab) watched(origin string) []message {
	l.Helper()
	l.flushed("n3")
	raw, err := localpg.Column[[]byte](l.Context(), l.m.Node("n3"), `
		select data from pg_logical_slot_peek_binary_changes('watch', null, null,
			'proto_version', '1', 'publication_names', 'mesh', 'origin', '`+origin+`')`)
	l.must(err)
	var out []message
	for _, b := range raw {
		m, err := new(decoder).decode(b)
		l.must(err)
		out = append(out, m)
	}
	return out
}
