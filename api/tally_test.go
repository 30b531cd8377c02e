package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"healer/events"
	"healer/topology"
)

// TestTally counts what an agent tells of a loss, a doubt, and what became of both.
func TestTally(t *testing.T) {
	tally := NewTally()
	begin := time.Unix(1000, 0)
	tell := func(after time.Duration, kind events.Kind, data any) {
		t.Helper()
		e, err := events.New(events.Fact{Cluster: "app", Kind: kind, Node: "n3"}, "n1", begin.Add(after), data)
		if err != nil {
			t.Fatal(err)
		}
		tally.Count(e)
	}
	tell(0, events.NodeSuspected, nil)
	tell(100*time.Millisecond, events.NodeRefuted, nil)
	tell(time.Second, events.NodeSuspected, nil)
	tell(1100*time.Millisecond, events.NodeSuspected, nil)
	tell(1300*time.Millisecond, events.NodeFailed, nil)
	tell(2*time.Second, events.RecoveryStep, events.Step{Kind: "subscribe", State: "done", DurationMS: 500, Figures: map[string]int64{"transactions": 40, "rows": 90, "bytes": 7000}})
	tell(2*time.Second, events.RecoveryStep, events.Step{Kind: "verify", State: "done", DurationMS: 50, Figures: map[string]int64{"rows_repaired": 3}})
	tell(2*time.Second, events.RecoveryVerified, events.Verified{DurationMS: 700, Conflicts: &events.Conflicts{Total: 2, Counts: []topology.ConflictCount{
		{Table: "a", Kind: "update_newer", Action: "kept", Count: 1}, {Table: "b", Kind: "update_newer", Action: "kept", Count: 1},
	}}})
	tell(2*time.Second, events.RecoveryFailed, events.Failed{Plan: "recovery", Reason: "diverged"})
	tell(2*time.Second, events.RecoveryCancelled, events.Failed{Plan: "rejoin", Reason: "cancelled"})
	tell(2*time.Second, events.RecoveryRefused, events.Refused{Plan: "recovery", Reason: "slot_lost"})
	tell(3*time.Second, events.NodeRejoined, events.Rejoined{DurationMS: 300})
	page := exposed(t, tally)
	for _, line := range []string{
		`healer_conflicts_total{action="kept",kind="update_newer"} 2`,
		`healer_false_suspicions_total{node="n3"} 1`,
		`healer_node_failures_total{node="n3"} 1`,
		`healer_node_suspicions_total{node="n3"} 3`,
		`healer_recoveries_total{kind="recovery",reason="",result="verified"} 1`,
		`healer_recoveries_total{kind="recovery",reason="diverged",result="failed"} 1`,
		`healer_recoveries_total{kind="recovery",reason="slot_lost",result="refused"} 1`,
		`healer_recoveries_total{kind="rejoin",reason="",result="done"} 1`,
		`healer_recoveries_total{kind="rejoin",reason="cancelled",result="cancelled"} 1`,
		`healer_repaired_rows_total 3`,
		`healer_replayed_bytes_total 7000`,
		`healer_replayed_rows_total 90`,
		`healer_replayed_transactions_total 40`,
		`healer_detection_seconds_bucket{node="n3",le="0.2"} 0`,
		`healer_detection_seconds_bucket{node="n3",le="0.5"} 1`,
		`healer_detection_seconds_sum{node="n3"} 0.3`,
		`healer_detection_seconds_count{node="n3"} 1`,
		`healer_recovery_seconds_sum{kind="recovery"} 0.7`,
		`healer_recovery_seconds_count{kind="rejoin"} 1`,
		`healer_step_seconds_sum{result="done",step="subscribe"} 0.5`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, page)
		}
	}
}

// exposed is what a scrape gets.
func exposed(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return "\n" + w.Body.String()
}

// TestTallyOfStrangeData counts events whose data is not what it should be.
func TestTallyOfStrangeData(t *testing.T) {
	tally := NewTally()
	for _, raw := range []string{``, `null`, `[]`, `"x"`, `{"figures":3,"kind":"subscribe","state":"done"}`, `{"duration_ms":-5,"figures":{"rows":-1}}`} {
		for _, kind := range events.Kinds() {
			e, err := events.New(events.Fact{Cluster: "app", Kind: kind, Node: "n3"}, "n1", time.Unix(0, 0), nil)
			if err != nil {
				t.Fatal(err)
			}
			e.Data = json.RawMessage(raw)
			tally.Count(e)
		}
	}
	if page := exposed(t, tally); !strings.Contains(page, "healer_node_failures_total") {
		t.Errorf("nothing was counted:\n%s", page)
	}
}
