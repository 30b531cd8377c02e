package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/events"
)

// Report is what a run of the demo measured. All times are from the kill.
type Report struct {
	PostgresVersion string   `json:"postgres_version"`
	Nodes           []string `json:"nodes"`
	FailedNode      string   `json:"failed_node"`
	// Source is the survivor the gap was carried from, Laggards has the
	// transactions that each laggard lacked at the fence.
	Source   string           `json:"source"`
	Laggards map[string]int64 `json:"laggards"`
	// GapRows were written on the failed node while its link was cut.
	GapRows int64 `json:"gap_rows"`
	// DetectedAfterMS, VerifiedAfterMS are from the kill to the arrival of
	// node.failed and recovery.verified; RejoinedAfterMS is from the node's
	// start to the arrival of node.rejoined. -1 means that it never came.
	DetectedAfterMS int64 `json:"detected_after_ms"`
	VerifiedAfterMS int64 `json:"verified_after_ms"`
	RejoinedAfterMS int64 `json:"rejoined_after_ms"`

	TransactionsRecovered int64 `json:"transactions_recovered"`
	RowsRepaired          int64 `json:"rows_repaired"`
	// RowsTouched is how many rows the recovery compared.
	RowsTouched int64            `json:"rows_touched"`
	PhasesMS    map[string]int64 `json:"phases_ms,omitempty"`
	Rejoined    bool             `json:"rejoined"`

	// Converged is true when every row of every table was read on every node
	// and found equal.
	Converged      bool     `json:"converged"`
	TablesCompared int      `json:"tables_compared"`
	RowsCompared   int64    `json:"rows_compared"`
	RowsDiffering  int64    `json:"rows_differing"`
	Differences    []string `json:"differences,omitempty"`

	// Written has the workload's transactions by node.
	Written map[string]int64 `json:"written"`
	// WritesDuringRecovery has, by survivor, the transactions committed from
	// the kill to recovery.verified; LongestPauseMS is the longest time in
	// which any of their writers did not get through.
	WritesDuringRecovery map[string]int64 `json:"writes_during_recovery"`
	LongestPauseMS       int64            `json:"longest_pause_ms"`

	// Events counts the events that came over NATS, by kind.
	Events map[events.Kind]int `json:"events"`
	// Error is why the run ended early; empty when it did not.
	Error string `json:"error,omitempty"`
	// TookMS is the time of the whole run.
	TookMS int64 `json:"took_ms"`
}

func newReport(o Options) Report {
	return Report{
		Nodes: o.names(), FailedNode: o.Kill, Laggards: map[string]int64{},
		DetectedAfterMS: -1, VerifiedAfterMS: -1, RejoinedAfterMS: -1,
		Written: map[string]int64{}, WritesDuringRecovery: map[string]int64{}, Events: map[events.Kind]int{},
	}
}

// writeJSON writes the report as one object.
func (r Report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// lines is the report for a reader.
func (r Report) lines() []string {
	if r.Error != "" {
		return append([]string{"the demo did not come to its end: " + r.Error}, r.Differences...)
	}
	lines := []string{
		fmt.Sprintf("detected %s after the kill, verified after %s", seconds(r.DetectedAfterMS), seconds(r.VerifiedAfterMS)),
		fmt.Sprintf("%d transactions carried from %s to %s, %d rows repaired", r.TransactionsRecovered, orNone(r.Source), r.lagging(), r.RowsRepaired),
		fmt.Sprintf("survivors wrote on: %s; longest pause of a writer %d ms", counts(r.WritesDuringRecovery), r.LongestPauseMS),
		fmt.Sprintf("%s was taken back %s after its start", r.FailedNode, seconds(r.RejoinedAfterMS)),
	}
	if r.Converged {
		return append(lines, fmt.Sprintf("CONVERGED: %d rows of %d tables are equal on %s",
			r.RowsCompared, r.TablesCompared, strings.Join(r.Nodes, ", ")))
	}
	lines = append(lines, fmt.Sprintf("NOT CONVERGED: %d of %d rows differ", r.RowsDiffering, r.RowsCompared+r.RowsDiffering))
	return append(lines, r.Differences...)
}

func (r Report) lagging() string {
	if len(r.Laggards) == 0 {
		return "nobody"
	}
	parts := make([]string, 0, len(r.Laggards))
	for _, n := range slices.Sorted(maps.Keys(r.Laggards)) {
		parts = append(parts, fmt.Sprintf("%s (lacked %d)", n, r.Laggards[n]))
	}
	return strings.Join(parts, ", ")
}

func counts(by map[string]int64) string {
	parts := make([]string, 0, len(by))
	for _, n := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %d transactions", n, by[n]))
	}
	return strings.Join(parts, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

func seconds(ms int64) string { return fmt.Sprintf("%.2f s", float64(ms)/1000) }

func milliseconds(d time.Duration) int64 { return d.Milliseconds() }
