package spock_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/postgres/spock"
	"healer/topology"
)

// TestObserve reads the catalogs of a stand-in: who reads from whom, under what names,
// and how far, which no single place knows.
func TestObserve(t *testing.T) {
	bothVersions(t, func(s *standin, major int) {
		got := s.from("n1")
		want := topology.Subscription{
			Name: "sub_n2_n1", ID: 4000000001, Provider: "n1", Enabled: true, Origin: s.origin, Slot: s.origin,
			Publications: []string{"default", "default_insert_only", "ddl_sql"}, Worker: topology.WorkerNone,
			Progress: 0x300, Writer: idN1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("subscription to n1 (-want +got):\n%s", diff)
		}
		s.exec(`SELECT pg_replication_origin_advance('` + s.origin + `', '0/200')`)
		if got := s.from("n1").Progress; got != 0x300 {
			s.Errorf("progress is %s, want that of the id in commits", got)
		}
		s.exec(`SELECT spock.standin_progress(sub_target, sub_origin, '0/400') FROM spock.subscription WHERE sub_name = 'sub_n2_n1'`)
		after := topology.LSN(0x400)
		if major == 6 {
			after = 0x300 // memory that may be ahead of the data
		}
		if got := s.from("n1").Progress; got != after {
			s.Errorf("progress with spock.progress at 0/400 is %s, want %s", got, after)
		}
		if got, err := s.engine.Progress(s.Context(), "n2", s.origin, true); err != nil || got != after {
			s.Errorf("flushed progress is %s, %v; want %s", got, err, after)
		}
		s.exec(`SELECT pg_replication_origin_advance('` + s.origin + `', '0/500')`)
		if got, err := s.engine.Progress(s.Context(), "n2", s.origin, true); err != nil || got != 0x500 {
			s.Errorf("flushed progress is %s, %v; want that of the origin", got, err)
		}
		if got := s.from("n3").Progress; got != 0 {
			s.Errorf("progress of n3 is %s, want none", got)
		}
		_, err := s.engine.Progress(s.Context(), "n2", "no_origin", false)
		if err == nil {
			s.Error("progress of an origin that does not exist was told")
		}
	})
}

// TestProgressOfAnEarlierProvider has what the id and the table tell of a provider that was
// made anew since: it is not the progress of the subscription to the new one.
func TestProgressOfAnEarlierProvider(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		s.exec(`SELECT spock.standin_progress(sub_target, sub_origin, '0/400') FROM spock.subscription WHERE sub_name = 'sub_n2_n1';
			UPDATE spock.subscription SET sub_created_at = now() + interval '1 hour' WHERE sub_name = 'sub_n2_n1'`)
		if got := s.from("n1").Progress; got != 0x300 {
			s.Errorf("progress is %s, want what the id tells: the table is older than the subscription", got)
		}
		s.exec(`SELECT pg_replication_origin_session_setup('` + s.origin + `');
			BEGIN; SELECT pg_replication_origin_xact_setup('0/50', '2026-01-01Z'); INSERT INTO kv VALUES (2, 'n1 anew'); COMMIT;
			SELECT pg_replication_origin_session_reset()`)
		if got := s.from("n1").Progress; got != 0x50 {
			s.Errorf("progress is %s, want that of the origin, which is newer than the id's", got)
		}
		if got, err := s.engine.Progress(s.Context(), "n2", s.origin, true); err != nil || got != 0x50 {
			s.Errorf("flushed progress is %s, %v; want that of the origin", got, err)
		}
	})
}

// TestFence disables the subscription with its mark, has the worker killed outside of
// the transaction, and puts the origin where the node really is.
func TestFence(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		s.exec(`SELECT pg_replication_origin_advance('` + s.origin + `', '0/200')`)
		sub := s.from("n1")
		lost := topology.Identity{SystemID: 1, Timeline: 1}
		fence, err := s.engine.Fence(s.Context(), "n2", sub, lost)
		if err != nil || fence.Mark == "" {
			s.Fatalf("fence: %+v, %v", fence, err)
		}
		if got := s.text(`SELECT string_agg(call, '; ' ORDER BY n) FROM spock.standin_calls`); got != "sub_disable sub_n2_n1 false; sub_disable sub_n2_n1 true" {
			s.Errorf("calls: %s", got)
		}
		if got := s.text(`SELECT pg_replication_origin_progress('` + s.origin + `', false)::text`); got != "0/300" {
			s.Errorf("the origin is at %s, want where the id in commits is", got)
		}
		again, err := s.engine.Fence(s.Context(), "n2", s.from("n1"), lost)
		if err != nil || again.Mark != fence.Mark {
			s.Errorf("a second fence: %+v, %v; want the same mark", again, err)
		}
		n := s.observed()
		if f, ok := n.FenceOf("n1"); !ok || f.Subscription != "sub_n2_n1" {
			s.Errorf("fences: %+v", n.Fences)
		}
		if err := s.engine.Unfence(s.Context(), "n2", fence); err != nil {
			s.Fatal(err)
		}
		if sub := s.from("n1"); !sub.Enabled || len(s.observed().Fences) > 0 {
			s.Errorf("after the fence: %+v, %+v", sub, s.observed().Fences)
		}
		if got := s.text(`SELECT call FROM spock.standin_calls ORDER BY n DESC LIMIT 1`); got != "sub_enable sub_n2_n1 false" {
			s.Errorf("last call: %s", got)
		}
	})
}

// TestOriginThatIsHeldIsNotMoved has a session that applies under the origin while a
// fence is made again.
func TestOriginThatIsHeldIsNotMoved(t *testing.T) {
	s := newStandin(t, 6)
	s.exec(`UPDATE spock.subscription SET sub_enabled = false WHERE sub_name = 'sub_n2_n1'`)
	s.exec(`SELECT pg_replication_origin_session_setup('` + s.origin + `')`)
	if _, err := s.engine.Fence(t.Context(), "n2", s.from("n1"), topology.Identity{}); err == nil || topology.ClassOf(err) != topology.Transient {
		t.Errorf("the fence of a held origin: %v, want a transient error", err)
	}
	s.exec(`SELECT pg_replication_origin_session_reset()`)
	fence, err := s.engine.Fence(t.Context(), "n2", s.from("n1"), topology.Identity{})
	if err != nil || fence.Mark != "" {
		t.Errorf("the fence of what somebody else disabled: %+v, %v; want one without a mark", fence, err)
	}
}

// TestTables are those of the node's own sets of the names that are asked for.
func TestTables(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		tables := func() (out []string) {
			got, err := s.engine.Tables(s.Context(), "n2", s.from("n1"))
			if err != nil {
				s.Fatal(err)
			}
			for _, n := range got {
				out = append(out, n.String())
			}
			return out
		}
		if diff := cmp.Diff([]string{"public.kv", "public.log", "public.p1"}, tables()); diff != "" {
			s.Errorf("tables (-want +got):\n%s", diff)
		}
		s.exec(`INSERT INTO spock.local_sync_status VALUES ('d', 4000000001, 'public', 'log', 'd', '0/0')`)
		if diff := cmp.Diff([]string{"public.kv", "public.p1"}, tables()); diff != "" {
			s.Errorf("while log is copied (-want +got):\n%s", diff)
		}
	})
}

// TestOriginsAndCommits tells the authors of rows by the ids that are in commits.
func TestOriginsAndCommits(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		authors, err := s.engine.OriginMap(s.Context(), "n2")
		if err != nil {
			s.Fatal(err)
		}
		roident := uint32(s.number(`SELECT roident::bigint FROM pg_replication_origin WHERE roname = '` + s.origin + `'`))
		if authors[idN1] != "n1" || authors[roident] != "n1" || authors[idN3] != "n3" {
			s.Errorf("authors are %v: want n1 for %d and %d, n3 for %d", authors, idN1, roident, idN3)
		}
		if got := s.observed().Authors(); got[topology.WriterName(idN1)] != "n1" || got[s.origin] != "n1" {
			s.Errorf("authors for a recovery are %v", got)
		}
		want := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		if at, err := s.engine.LastCommit(s.Context(), "n2", s.from("n1")); err != nil || !at.Equal(want) {
			s.Errorf("the last commit of n1 is at %s, %v; want %s", at, err, want)
		}
		if ok, err := s.engine.Stamped(s.Context(), "n2", s.from("n1"), want); err != nil || !ok {
			s.Errorf("commits of n1 are stamped: %v, %v", ok, err)
		}
	})
}

// TestReading makes what a stream of the log is read by.
func TestReading(t *testing.T) {
	bothVersions(t, func(s *standin, major int) {
		s.from("n1")
		s.from("n3")
		f, err := s.engine.Format(s.Context(), "n2", "n2", "n1")
		if err != nil {
			s.Fatal(err)
		}
		options := strings.Join(f.Options(), ", ")
		want := map[int]string{5: `"spock_version_num" '50011'`, 6: `"spock_version_num" '60000'`}[major]
		for _, part := range []string{want, `"spock.forward_origins" 'all'`, `"spock.replication_set_names" '"default","default_insert_only","ddl_sql"'`} {
			if !strings.Contains(options, part) {
				s.Errorf("options %s lack %s", options, part)
			}
		}
		sets, err := s.engine.Publications(s.Context(), "n2", "n2", "n1")
		if err != nil || !slices.Equal(sets, []string{"default", "default_insert_only", "ddl_sql"}) {
			s.Errorf("sets are %v, %v", sets, err)
		}
		s.exec(`UPDATE spock.node SET node_id = (SELECT roident FROM pg_replication_origin
			WHERE roname = 'spk_' || current_database() || '_n3_sub_n2_n3') WHERE node_name = 'n1'`)
		_, err = s.engine.Format(s.Context(), "n2", "n2", "n1")
		wantFault(s.T, err, topology.Permanent, "origin_ambiguous")
		if f, ok := s.observed().Blocked(); !ok || f.Code != "origin_ambiguous" {
			s.Errorf("the finding is %+v, want origin_ambiguous", f)
		}
	})
}

// TestDiscardedTransactions keep a node that is ahead out of a plan, unless the laggard has
// what came after, or a person has dealt with it.
func TestDiscardedTransactions(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		n2 := s.observed()
		behind := topology.NodeState{Name: "n3", Subscriptions: []topology.Subscription{{Provider: "n1", Progress: 1}}}
		obs := topology.Observation{Nodes: []topology.NodeState{n2, behind}}
		codes := func() (out []string) {
			got, err := s.engine.Inspect(s.Context(), obs, "n1")
			if err != nil {
				s.Fatal(err)
			}
			for _, f := range got.Nodes[0].Findings {
				if f.Blocking {
					out = append(out, f.Code)
				}
			}
			return out
		}
		if got := codes(); len(got) > 0 {
			s.Fatalf("blocked by %v", got)
		}
		s.exec(`INSERT INTO spock.exception_log (remote_origin, remote_commit_ts, command_counter, retry_errored_at, remote_xid, error_message)
			SELECT sub_origin, '2026-01-02 03:04:06Z', 1, '2026-01-02 03:04:07Z', 700, 'duplicate key' FROM spock.subscription WHERE sub_name = 'sub_n2_n1'`)
		if got := codes(); !slices.Equal(got, []string{"transactions_discarded"}) {
			s.Errorf("with a discarded transaction it is blocked by %v", got)
		}
		obs.Nodes[1].Subscriptions[0].Progress = n2.Subscriptions[0].Progress
		if got := codes(); len(got) > 0 {
			s.Errorf("a node that is nobody's source is blocked by %v", got)
		}
		obs.Nodes[1].Subscriptions[0].Progress = 1
		s.exec(`INSERT INTO spock.exception_status (remote_origin, remote_commit_ts, retry_errored_at, remote_xid, status, resolved_at)
			SELECT remote_origin, remote_commit_ts, retry_errored_at, remote_xid, 'RESOLVED', now() FROM spock.exception_log`)
		if got := codes(); len(got) > 0 {
			s.Errorf("with everything resolved it is blocked by %v", got)
		}
		if schema := mustInspect(s, obs).Nodes[0].Schema; len(schema.Receives) != 3 {
			s.Errorf("schema is %+v, want three tables", schema)
		}
	})
}

func mustInspect(s *standin, obs topology.Observation) topology.Observation {
	s.Helper()
	got, err := s.engine.Inspect(s.Context(), obs, "n1")
	if err != nil {
		s.Fatal(err)
	}
	return got
}

// TestStatements has every query that needs the output plugin understood by a server,
// and the others' answers read.
func TestStatements(t *testing.T) {
	bothVersions(t, func(s *standin, _ int) {
		var d spock.Dialect
		for _, sql := range []string{d.Counting(), d.EndConnecting(), d.Discarded(), d.Settle(), d.Progress(), d.Reading(), d.Survey(), d.Find()} {
			s.exec("PREPARE p AS " + sql + "; DEALLOCATE p")
		}
		shapes := s.text(`SELECT string_agg(l->>'name' || ' ' || coalesce(l->>'columns', 'all') || ' ' || (l->>'update') || ' ' || (l->>'identity'), '; ')
			FROM jsonb_array_elements((` + strings.ReplaceAll(d.Sends(), "$1", `'{default,default_insert_only}'`) + `)) l`)
		if want := `kv ["k", "v"] true k; log all false ; p1 all true k`; shapes != want {
			s.Errorf("sends %s, want %s", shapes, want)
		}
		if err := s.engine.DropSubscription(s.Context(), "n2", 4000000001); err != nil {
			s.Fatal(err)
		}
		if got := s.number(`SELECT count(*) FROM spock.subscription`); got != 1 {
			s.Errorf("%d subscriptions are left", got)
		}
		if changed, err := s.engine.EnsurePublication(s.Context(), "n2"); err != nil || changed {
			s.Errorf("publications: %v, %v; want none made", changed, err)
		}
	})
}

// TestFindings names what keeps a subscription out of recoveries.
func TestFindings(t *testing.T) {
	s := newStandin(t, 6)
	s.exec(`UPDATE spock.subscription SET sub_forward_origins = '{all}', sub_slot_name = 'spk_app_n1_sub_1' WHERE sub_name = 'sub_n2_n1'`)
	var codes []string
	for _, f := range s.observed().Findings {
		if f.Blocking {
			codes = append(codes, f.Code)
		}
	}
	if !slices.Contains(codes, "subscription_origin") || !slices.Contains(codes, "slot_group") {
		t.Errorf("blocking findings are %v, want subscription_origin and slot_group", codes)
	}
}

// Catalogs of a release that is not known are named, and nothing is done with them.
func TestUnknownCatalogs(t *testing.T) {
	for what, sql := range map[string]string{
		"a column":   `ALTER TABLE spock.subscription RENAME sub_slot_name TO sub_slot`,
		"a table":    `ALTER TABLE spock.local_sync_status RENAME TO local_sync`,
		"a function": `DROP FUNCTION spock.spock_version_num()`,
	} {
		t.Run(what, func(t *testing.T) {
			s := newStandin(t, 6)
			s.exec(sql)
			n := s.observed()
			f, blocked := n.Blocked()
			if !blocked || f.Code != "engine_unread" || !strings.Contains(f.Detail, "spock stand-in") || !strings.Contains(f.Remedy, "docs/engines.md") {
				t.Errorf("%+v", n.Findings)
			}
		})
	}
}
