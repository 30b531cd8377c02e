package api

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"healer/events"
)

// Tally counts what one agent tells of, since it started. It is for Options.Collectors;
// the sum over the agents is the cluster's, but for what is judged: every agent judges.
type Tally struct {
	suspicions, cleared, failures        *prometheus.CounterVec
	recoveries, conflicts                *prometheus.CounterVec
	transactions, rows, bytes, repaired  prometheus.Counter
	detection, recoverySeconds, stepTime *prometheus.HistogramVec

	mu        sync.Mutex
	suspected map[string]time.Time
}

// NewTally counts from zero.
func NewTally() *Tally {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "healer_" + name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "healer_" + name, Help: help})
	}
	times := func(name, help string, buckets []float64, label ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "healer_" + name, Help: help, Buckets: buckets}, label)
	}
	long := prometheus.ExponentialBuckets(0.01, 4, 10) // 10 ms to 44 minutes
	return &Tally{
		suspicions:      vec("node_suspicions_total", "Times that this agent suspected the node.", "node"),
		cleared:         vec("false_suspicions_total", "Suspicions of the node that this agent took back.", "node"),
		failures:        vec("node_failures_total", "Times that this agent judged the node lost.", "node"),
		detection:       times("detection_seconds", "From this agent's first suspicion of a node to its verdict that the node is lost.", []float64{0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30}, "node"),
		recoveries:      vec("recoveries_total", "Recoveries and rejoins that this agent brought to an end, or refused. The reason is that of a failure or a refusal.", "kind", "result", "reason"),
		recoverySeconds: times("recovery_seconds", "How long a recovery or rejoin took that was done.", long, "kind"),
		stepTime:        times("step_seconds", "How long a step of a plan took, over all its attempts.", long, "step", "result"),
		transactions:    one("replayed_transactions_total", "Transactions of lost nodes that this agent applied on laggards."),
		rows:            one("replayed_rows_total", "Row changes of lost nodes that this agent applied on laggards."),
		bytes:           one("replayed_bytes_total", "Size of those row changes, as the source's log decodes to them."),
		conflicts:       vec("conflicts_total", "Writes of a lost node that met another's, by what was done.", "kind", "action"),
		repaired:        one("repaired_rows_total", "Rows that replay alone would have left different."),
		suspected:       map[string]time.Time{},
	}
}

func (t *Tally) all() []prometheus.Collector {
	return []prometheus.Collector{
		t.suspicions, t.cleared, t.failures, t.detection, t.recoveries, t.recoverySeconds, t.stepTime,
		t.transactions, t.rows, t.bytes, t.conflicts, t.repaired,
	}
}

// Describe implements prometheus.Collector.
func (t *Tally) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range t.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (t *Tally) Collect(ch chan<- prometheus.Metric) {
	for _, c := range t.all() {
		c.Collect(ch)
	}
}

// Count takes an event of this agent's. One whose data is not as it should be counts as
// far as it can be read.
func (t *Tally) Count(e events.Event) {
	switch e.Kind() {
	case events.NodeSuspected, events.NodeRefuted, events.NodeFailed:
		t.judged(e)
	case events.RecoveryStep:
		t.step(e)
	case events.RecoveryVerified:
		var d events.Verified
		read(e, &d)
		t.ended("recovery", "verified", "", d.DurationMS)
		t.met(d.Conflicts)
	case events.NodeRejoined:
		var d events.Rejoined
		read(e, &d)
		t.ended("rejoin", "done", "", d.DurationMS)
	case events.RecoveryFailed, events.RecoveryCancelled:
		var d events.Failed
		read(e, &d)
		result := "failed"
		if e.Kind() == events.RecoveryCancelled {
			result = "cancelled"
		}
		t.ended(d.Plan, result, d.Reason, 0)
		t.met(d.Conflicts)
	case events.RecoveryRefused:
		var d events.Refused
		read(e, &d)
		t.ended(d.Plan, "refused", d.Reason, 0)
	}
}

func (t *Tally) judged(e events.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	began, known := t.suspected[e.Subject]
	switch e.Kind() {
	case events.NodeSuspected:
		t.suspicions.WithLabelValues(e.Subject).Inc()
		if !known {
			t.suspected[e.Subject] = e.Time
		}
		return
	case events.NodeRefuted:
		t.cleared.WithLabelValues(e.Subject).Inc()
	default:
		t.failures.WithLabelValues(e.Subject).Inc()
		if known {
			t.detection.WithLabelValues(e.Subject).Observe(max(0, e.Time.Sub(began).Seconds()))
		}
	}
	delete(t.suspected, e.Subject)
}

func (t *Tally) step(e events.Event) {
	var d events.Step
	read(e, &d)
	t.stepTime.WithLabelValues(d.Kind, d.State).Observe(seconds(d.DurationMS))
	// Only the step that carries the gap has these figures: executor.FigureTransactions.
	if d.State == "done" && d.Kind == "subscribe" {
		t.transactions.Add(float64(max(0, d.Figures["transactions"])))
		t.rows.Add(float64(max(0, d.Figures["rows"])))
		t.bytes.Add(float64(max(0, d.Figures["bytes"])))
	}
	if slices.Contains([]string{"verify", "rows"}, d.Kind) {
		t.repaired.Add(float64(max(0, d.Figures["rows_repaired"])))
	}
}

func (t *Tally) ended(kind, result, reason string, ms int64) {
	t.recoveries.WithLabelValues(kind, result, reason).Inc()
	if ms > 0 {
		t.recoverySeconds.WithLabelValues(kind).Observe(seconds(ms))
	}
}

func (t *Tally) met(c *events.Conflicts) {
	if c == nil {
		return
	}
	for _, n := range c.Counts {
		t.conflicts.WithLabelValues(string(n.Kind), n.Action).Add(float64(max(0, n.Count)))
	}
}

func seconds(ms int64) float64 { return float64(max(0, ms)) / 1000 }

// read takes what it can of an event's data.
func read(e events.Event, into any) { _ = json.Unmarshal(e.Data, into) }
