package topology

import "slices"

// NodeState is what was read from one server at one time. When Reachable is
// false only Name and Problem mean anything: silence is not evidence.
type NodeState struct {
	Name      string `json:"name"`
	Reachable bool   `json:"reachable"`
	// Problem says why the node could not be read.
	Problem string `json:"problem,omitempty"`

	// Engine is what replicates on the node, as the cluster's file calls it; empty when it
	// is PostgreSQL's own or not known.
	Engine string `json:"engine,omitempty"`

	// Database is current_database(): the names of slots and marks carry it,
	// because a server's databases share them.
	Database string `json:"database"`

	Identity Identity `json:"identity"`
	// Forks is the server's timeline history, oldest first; empty on
	// timeline 1.
	Forks []Fork `json:"forks,omitempty"`
	// Version is server_version_num, such as 180004.
	Version int `json:"version"`
	// InRecovery is pg_is_in_recovery(): a standby takes no part.
	InRecovery bool `json:"in_recovery"`
	// Flushed is pg_current_wal_flush_lsn().
	Flushed LSN `json:"flushed"`
	// Checkpoint is where the record of the server's latest checkpoint begins
	// (pg_control_checkpoint().checkpoint_lsn). A server that starts on the timeline on
	// which it ended has one at the end of the log that it found: of its shutdown, or of
	// its recovery (xlog.c, StartupXLOG). So nothing of the log of its earlier lives is
	// behind any checkpoint of this one.
	Checkpoint LSN `json:"checkpoint,omitempty"`

	Subscriptions []Subscription `json:"subscriptions"`
	Slots         []Slot         `json:"slots"`
	Fences        []Fence        `json:"fences"`
	Gaps          []GapMark      `json:"gaps"`
	Bars          []Bar          `json:"bars,omitempty"`
	Owed          []Owed         `json:"owed,omitempty"`
	// Applying are the origins of which a recovery holds the apply lock here.
	Applying []string  `json:"applying,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	// Schema is nil unless it was read for a plan.
	Schema *Schema `json:"schema,omitempty"`
}

// From returns the node's subscription to provider.
func (n NodeState) From(provider string) (Subscription, bool) {
	i := slices.IndexFunc(n.Subscriptions, func(s Subscription) bool { return s.Provider == provider })
	if i < 0 {
		return Subscription{}, false
	}
	return n.Subscriptions[i], true
}

// Authors are the nodes whose transactions the node applies, by what its commits have:
// the names of replication origins, and WriterName of ids that are none.
func (n NodeState) Authors() map[string]string {
	m := make(map[string]string, len(n.Subscriptions))
	for _, s := range n.Subscriptions {
		if s.Provider == "" {
			continue
		}
		m[s.Origin] = s.Provider
		if s.Writer != 0 {
			m[WriterName(s.Writer)] = s.Provider
		}
	}
	return m
}

// FenceOf returns the mark by which origin is fenced off on this node.
func (n NodeState) FenceOf(origin string) (Fence, bool) {
	i := slices.IndexFunc(n.Fences, func(f Fence) bool { return f.Origin == origin })
	if i < 0 {
		return Fence{}, false
	}
	return n.Fences[i], true
}

// GapOf returns the mark of an unverified recovery of origin on this node.
func (n NodeState) GapOf(origin string) (GapMark, bool) {
	i := slices.IndexFunc(n.Gaps, func(g GapMark) bool { return g.Origin == origin })
	if i < 0 {
		return GapMark{}, false
	}
	return n.Gaps[i], true
}

// BarOf returns the mark by which this node bars another from coming back; that of a
// rebuild under way where there are more.
func (n NodeState) BarOf(node string) (bar Bar, found bool) {
	for _, b := range n.Bars {
		if b.Node == node && (!found || b.Reason == BarRebuild) {
			bar, found = b, true
		}
	}
	return bar, found
}

// OwedTo returns the marks that rows have still to be compared with the node.
func (n NodeState) OwedTo(node string) (out []Owed) {
	for _, o := range n.Owed {
		if o.Node == node {
			out = append(out, o)
		}
	}
	return out
}

// Slot returns the slot of that kind which is kept for peer to; for a clone,
// of the recovery of origin.
func (n NodeState) Slot(kind SlotKind, to, origin string) (Slot, bool) {
	i := slices.IndexFunc(n.Slots, func(s Slot) bool {
		return s.Kind == kind && s.To == to && s.Origin == origin
	})
	if i < 0 {
		return Slot{}, false
	}
	return n.Slots[i], true
}

// ProvidersKnown reports whether it is known which node each subscription reads from.
func (n NodeState) ProvidersKnown() bool {
	return !slices.ContainsFunc(n.Subscriptions, func(s Subscription) bool { return s.Provider == "" })
}

// Blocked returns the first finding that keeps the node out of recoveries.
func (n NodeState) Blocked() (Finding, bool) {
	i := slices.IndexFunc(n.Findings, func(f Finding) bool { return f.Blocking })
	if i < 0 {
		return Finding{}, false
	}
	return n.Findings[i], true
}

// Observation is one reading of the whole mesh. The nodes were not read at one
// instant; what a decision needs to hold still must be fenced first.
type Observation struct {
	Cluster string `json:"cluster"`
	// Nodes has one entry for each configured node, sorted by name.
	Nodes []NodeState `json:"nodes"`
}

// ProvidersKnown reports whether all nodes' are.
func (o Observation) ProvidersKnown() bool {
	return !slices.ContainsFunc(o.Nodes, func(n NodeState) bool { return !n.ProvidersKnown() })
}

// Node returns the state of the named node.
func (o Observation) Node(name string) (NodeState, bool) {
	i := slices.IndexFunc(o.Nodes, func(n NodeState) bool { return n.Name == name })
	if i < 0 {
		return NodeState{}, false
	}
	return o.Nodes[i], true
}

// Names returns the configured nodes' names in order.
func (o Observation) Names() []string {
	names := make([]string, len(o.Nodes))
	for i, n := range o.Nodes {
		names[i] = n.Name
	}
	return names
}

// Memory is what must be remembered of a node while it lives, because it
// cannot be read any more once the node is lost.
type Memory struct {
	// Identity is the last that was read from the node.
	Identity Identity `json:"identity"`
	// Flushed is the last flushed LSN that was read from the node.
	Flushed LSN `json:"flushed"`
	// End is the furthest that is known of the node's log, from whomever.
	End LogEnd `json:"end,omitzero"`
	// Confirmed has, for each peer, the highest position of the node's log up
	// to which that peer has confirmed every transaction
	// (confirmed_flush_lsn of the node's slot for the peer). It bounds the
	// gap of a peer that has never applied a transaction of the node.
	Confirmed map[string]LSN `json:"confirmed"`
	// Applied has, for each peer, what it had applied of the node by the end of the
	// life in Identity at the latest. Only where a subscription has an oid is it known
	// to be the same one later.
	Applied map[string]Applied `json:"applied,omitempty"`
	// Rewound is what showed that the node has lost what others have applied of it; nil
	// when nothing did.
	Rewound *Rewound `json:"rewound,omitempty"`
}

// Applied is a position in a node's log up to which a subscription to it has applied it.
type Applied struct {
	// Subscription is the oid of the subscription.
	Subscription uint32 `json:"subscription"`
	LSN          LSN    `json:"lsn"`
}

// Rewound says that a server went on from an older state of itself: it uses LSNs again
// that others have already applied as other transactions.
type Rewound struct {
	// Identity is the server's, as it was then.
	Identity Identity `json:"identity"`
	// Why says it to an operator.
	Why string `json:"why"`
	// Readers are, by node, the subscriptions that had applied what is gone.
	Readers map[string]uint32 `json:"readers"`
}
