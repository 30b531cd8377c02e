package api

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"healer/topology"
)

// statusCollector makes metrics out of the Source's status at every scrape, so
// that a metric can never be older than the page.
type statusCollector struct {
	src Source
	d   map[string]*prometheus.Desc
}

// gauges is the table of metrics: name, help, labels.
func gauges() []struct {
	name, help string
	labels     []string
} {
	type g = struct {
		name, help string
		labels     []string
	}
	return []g{
		{"build_info", "Always 1; the labels say what runs.", []string{"version", "go"}},
		{"state", "1 for the state the cluster is in, 0 for the others.", []string{"state"}},
		{"observed_timestamp_seconds", "When the mesh was last observed, in Unix time; 0 for never.", nil},
		{"paused", "1 while healing is paused by an operator.", nil},
		{"node_life", "1 for the life the node is judged to have, 0 for the others.", []string{"node", "life"}},
		{"node_reachable", "1 when this agent's last reading of the node succeeded.", []string{"node"}},
		{"node_ready", "1 when nothing keeps the node out of recoveries.", []string{"node"}},
		{"node_condition", "1 for each condition that the detector found at the node: docs/detection.md.", []string{"node", "condition"}},
		{"agent_alive", "1 when gossip has the node's agent, or the witness, as a live member.", []string{"node"}},
		{"fenced", "1 when the node's subscription to the provider is fenced.", []string{"node", "provider"}},
		{"progress_lsn_bytes", "The node's progress for the origin, as a byte position in the origin's log.", []string{"origin", "node"}},
		{"missing_bytes", "Bytes of the origin's log that a peer has applied and the node has not.", []string{"origin", "node"}},
		{"origin_lag_bytes", "Bytes of the origin's log, as far as it is known, that the node has not applied; not all of them are replicated.", []string{"origin", "node"}},
		{"origin_lag_seconds", "How long before the last reading of the origin its log went beyond what the node has of it; 0 when it has all.", []string{"origin", "node"}},
		{"lost_unsent_bytes", "Bytes of the log of a lost or fenced off node that no survivor is known to have; none while that is not known.", []string{"node"}},
		{"slot_retained_bytes", "WAL held back by a slot that Healer keeps.", []string{"node", "for", "kind"}},
		{"slot_lag_bytes", "How far the slot's confirmed position is behind the end of the node's log.", []string{"node", "for", "kind"}},
		{"slot_wal_status", "1 for what the server says of the slot's WAL (pg_replication_slots.wal_status): reserved, extended, unreserved or lost.", []string{"node", "for", "kind", "status"}},
		{"slot_at_risk", "1 when the slot holds back more WAL than the configured limit, or loses it.", []string{"node", "for", "kind"}},
		{"recovery_running", "1 while a recovery or a rejoin of the node runs.", []string{"node", "kind"}},
		{"refusals", "Standing refusals of the planner.", []string{"subject", "reason"}},
		{"last_recovery_success", "1 when the last recovery that ended was verified.", []string{"node", "kind"}},
		{"last_recovery_duration_seconds", "How long the last recovery took.", []string{"node", "kind"}},
		{"last_recovery_transactions", "Transactions carried across by the last recovery.", []string{"node", "kind"}},
		{"last_recovery_repaired_rows", "Rows repaired by the last recovery.", []string{"node", "kind"}},
		{"nats_connected", "1 while the agent is connected to NATS.", nil},
		{"nats_stream_ready", "1 while the cluster's stream takes messages.", nil},
		{"outbox_depth", "Events kept locally that the stream has not acknowledged.", nil},
		{"gossip_encrypted", "1 when gossip is encrypted.", nil},
		{"gossip_key_problem", "1 while the key file cannot be used as it is.", nil},
		{"gossip_second_agent", "1 while another agent uses this one's name.", nil},
		{"certificate_expiry_timestamp_seconds", "When the certificate that the agent shows at the door (api, nats) ends, in Unix time.", []string{"door"}},
		{"certificate_problem", "1 while the files of the door's certificate cannot be used as they are; those from before stay in use.", []string{"door"}},
		{"hook_runs_total", "Runs of a hook by this agent that were done, or failed.", []string{"hook", "result"}},
		{"hook_events_given_up_total", "Events that a hook did not take at the last try.", []string{"hook"}},
		{"hook_running", "Runs of a hook that are under way.", []string{"hook"}},
	}
}

func newStatusCollector(src Source) *statusCollector {
	c := &statusCollector{src: src, d: map[string]*prometheus.Desc{}}
	for _, g := range gauges() {
		c.d[g.name] = prometheus.NewDesc("healer_"+g.name, g.help, g.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range gauges() {
		ch <- c.d[g.name]
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := current(context.Background(), c.src)
	set := func(name string, v float64, labels ...string) {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(name, "_total") {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(c.d[name], kind, v, labels...)
	}
	set("build_info", 1, s.Version, runtime.Version())
	for _, st := range []State{Healthy, Degraded, Critical, Unknown} {
		set("state", one(s.State == st), string(st))
	}
	set("observed_timestamp_seconds", unix(s.At))
	set("paused", one(s.Paused))
	set("nats_connected", one(s.NATS.Connected))
	set("nats_stream_ready", one(s.NATS.StreamReady))
	set("outbox_depth", float64(s.NATS.OutboxDepth))
	collectGossip(s, set)
	for _, c := range s.Certificates {
		set("certificate_expiry_timestamp_seconds", unix(c.NotAfter), c.Door)
		set("certificate_problem", one(c.Problem != ""), c.Door)
	}
	collectHooks(s, set)
	collectNodes(s, set)
	collectRecoveries(s, set)
}

func collectNodes(s Status, set func(string, float64, ...string)) {
	ends := map[string]*topology.LogEnd{}
	for _, n := range s.Nodes {
		for _, life := range []string{LifeUp, LifeSuspected, LifeFailed, LifeLeft, LifeReturning, LifeUnknown} {
			set("node_life", one(n.Life == life), n.Name, life)
		}
		ends[n.Name] = n.LogEnd
		set("node_reachable", one(n.Reachable), n.Name)
		set("node_ready", one(n.Ready), n.Name)
		set("agent_alive", one(n.AgentAlive), n.Name)
		for _, found := range n.Conditions {
			set("node_condition", 1, n.Name, found.Code)
		}
		if n.UnsentBytes != nil {
			set("lost_unsent_bytes", float64(*n.UnsentBytes), n.Name)
		}
		fenced := map[string]bool{} // two subscriptions may share a provider
		for _, sub := range n.Subscriptions {
			fenced[sub.Provider] = fenced[sub.Provider] || sub.Fenced
		}
		for provider, is := range fenced {
			set("fenced", one(is), n.Name, provider)
		}
	}
	for _, w := range s.Witnesses {
		set("agent_alive", one(w.AgentAlive), w.Name)
	}
	for _, p := range s.Progress {
		set("progress_lsn_bytes", float64(p.LSN), p.Origin, p.Node)
		set("missing_bytes", float64(p.Missing), p.Origin, p.Node)
		if p.Lag != nil {
			set("origin_lag_seconds", time.Duration(*p.Lag).Seconds(), p.Origin, p.Node)
		}
		if end := ends[p.Origin]; end != nil {
			set("origin_lag_bytes", float64(max(end.Flushed, p.LSN)-p.LSN), p.Origin, p.Node)
		}
	}
}

func collectRecoveries(s Status, set func(string, float64, ...string)) {
	// A peer may have a clone for each lost origin: the series is their sum, or the worst.
	type key struct{ node, to, kind string }
	retained, lag, risk := map[key]int64{}, map[key]uint64{}, map[key]bool{}
	wal := map[key]map[string]bool{}
	for _, sl := range s.Slots {
		k := key{sl.Node, sl.For, string(sl.Kind)}
		retained[k] += sl.RetainedBytes
		lag[k] = max(lag[k], sl.Lag)
		if wal[k] == nil {
			wal[k] = map[string]bool{}
		}
		wal[k][sl.WALStatus] = true
		risk[k] = risk[k] || sl.AtRisk || sl.WALStatus == "lost" || sl.WALStatus == "unreserved"
	}
	for k, n := range retained {
		set("slot_retained_bytes", float64(n), k.node, k.to, k.kind)
		set("slot_lag_bytes", float64(lag[k]), k.node, k.to, k.kind)
		for status := range wal[k] {
			set("slot_wal_status", 1, k.node, k.to, k.kind, status)
		}
		set("slot_at_risk", one(risk[k]), k.node, k.to, k.kind)
	}
	if r := s.Current; r != nil {
		set("recovery_running", 1, r.Node, r.Kind)
	}
	refused := map[[2]string]int{}
	for _, r := range s.Refusals {
		refused[[2]string{r.Subject, r.Reason}]++
	}
	for k, n := range refused {
		set("refusals", float64(n), k[0], k[1])
	}
	if r := s.Last; r != nil {
		set("last_recovery_success", one(r.State == RecoveryVerified), r.Node, r.Kind)
		set("last_recovery_duration_seconds", time.Duration(r.Duration).Seconds(), r.Node, r.Kind)
		set("last_recovery_transactions", float64(r.Transactions), r.Node, r.Kind)
		set("last_recovery_repaired_rows", float64(r.Repaired), r.Node, r.Kind)
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
