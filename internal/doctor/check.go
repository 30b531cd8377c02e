package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/internal/engines"
	"healer/planner"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// severity is how much a problem matters.
type severity string

const (
	// blocking: a recovery that needs the node is refused, or cannot be.
	blocking severity = "blocking"
	// warning: it works now, and may not when it is needed.
	warning severity = "warning"
	// info: an operator should know.
	info severity = "info"
)

// problem is a prerequisite that is not met, with what mends it.
type problem struct {
	Node     string   `json:"node,omitempty"`
	Code     string   `json:"code"`
	Severity severity `json:"severity"`
	Detail   string   `json:"detail"`
	Remedy   string   `json:"remedy"`
}

// clockLimit is from which difference of two clocks on the last update may be the
// wrong one often enough to notice.
const clockLimit = 100 * time.Millisecond

// The releases that are tested.
const oldest, newest = 16, 18

// check names what is wrong, the gravest of each node first, then what is of no node.
func check(r reading) []problem {
	out := []problem{}
	for _, n := range r.obs.Nodes {
		var own []problem
		for _, check := range []func(reading, topology.NodeState) []problem{
			reachable, versions, prerequisites, unlike, links, feeders, asked, mixed,
		} {
			own = append(own, check(r, n)...)
		}
		slices.SortStableFunc(own, func(a, b problem) int { return a.Severity.rank() - b.Severity.rank() })
		out = append(out, own...)
	}
	out = append(out, clocks(r)...)
	if mixed := api.MixedVersions(r.builds); mixed != "" {
		out = append(out, problem{
			Code: "mixed_versions", Severity: info, Detail: mixed,
			Remedy: "upgrade the others too, one after the other: docs/operations.md#upgrade",
		})
	}
	if r.noWitness {
		out = append(out, problem{
			Code: "no_witness", Severity: warning,
			Detail: "two nodes and nobody else: after the loss of one the other has no majority, and plans are only shown",
			Remedy: "run `healer agent --witness` on a third machine and name it under witnesses",
		})
	}
	return out
}

func (s severity) rank() int { return slices.Index([]severity{blocking, warning, info}, s) }

func reachable(_ reading, n topology.NodeState) []problem {
	if n.Reachable {
		return nil
	}
	return []problem{{
		Node: n.Name, Code: "unreachable", Severity: blocking, Detail: "the server cannot be read: " + n.Problem,
		Remedy: "start it, or correct its dsn in the file",
	}}
}

func versions(_ reading, n topology.NodeState) []problem {
	major := n.Version / 10000
	switch {
	case !n.Reachable || (major >= oldest && major <= newest):
		return nil
	case major < oldest && n.Engine != "": // the engine's own finding says what it needs
		return nil
	case major > newest:
		return []problem{{
			Node: n.Name, Code: "version", Severity: warning, Detail: fmt.Sprintf("PostgreSQL %d is newer than what Healer is tested with", major),
			Remedy: fmt.Sprintf("use PostgreSQL %d to %d, or a newer Healer", oldest, newest),
		}}
	}
	return []problem{{
		Node: n.Name, Code: "version", Severity: blocking, Detail: fmt.Sprintf("PostgreSQL %d cannot leave out what a provider has received (origin = none)", major),
		Remedy: fmt.Sprintf("upgrade to PostgreSQL %d or later", oldest),
	}}
}

// prerequisites are what agents find too.
func prerequisites(_ reading, n topology.NodeState) []problem {
	var out []problem
	for _, f := range n.Findings {
		s := warning
		if f.Blocking {
			s = blocking
		}
		out = append(out, problem{Node: n.Name, Code: f.Code, Severity: s, Detail: f.Detail, Remedy: f.Remedy})
	}
	return out
}

// unlike: what a node has lost is known by what others have of it. What is remembered of
// it only the agents know.
func unlike(r reading, n topology.NodeState) []problem {
	refusal := planner.Unlike(n.Name, r.obs, topology.Memory{})
	if refusal == nil {
		return nil
	}
	return []problem{{Node: n.Name, Code: string(refusal.Reason), Severity: blocking, Detail: refusal.Why, Remedy: refusal.Remedy}}
}

// links: every node reads from every other.
func links(r reading, n topology.NodeState) []problem {
	if !n.Reachable {
		return nil
	}
	var out []problem
	for _, sub := range n.Subscriptions {
		if sub.Provider == "" {
			out = append(out, problem{
				Node: n.Name, Code: "provider_unknown", Severity: warning,
				Detail: fmt.Sprintf("nobody can tell which node subscription %q reads from: it is left alone", sub.Name),
				Remedy: "start the server at its other end; a subscription from outside the cluster is none of Healer's business",
			})
		}
	}
	for _, peer := range r.obs.Nodes {
		if peer.Name == n.Name {
			continue
		}
		sub, ok := n.From(peer.Name)
		_, fenced := n.FenceOf(peer.Name)
		switch {
		case !ok && fenced:
		case !ok && n.ProvidersKnown():
			out = append(out, problem{
				Node: n.Name, Code: "link_missing", Severity: blocking,
				Detail: fmt.Sprintf("%s does not subscribe to %s: what is lost of %s could not be told apart here", n.Name, peer.Name, peer.Name),
				Remedy: subscribe(n, n.Name+"_from_"+peer.Name),
			})
		case !ok:
		case fenced:
			out = append(out, problem{
				Node: n.Name, Code: "fenced", Severity: info,
				Detail: fmt.Sprintf("%s is fenced off from %s until that is taken back", n.Name, peer.Name),
				Remedy: "healer status says what it waits for",
			})
		case !sub.Enabled:
			out = append(out, problem{
				Node: n.Name, Code: "subscription_disabled", Severity: warning,
				Detail: fmt.Sprintf("subscription %q is disabled, and not by Healer", sub.Name),
				Remedy: engines.Dialect(n.Engine).Enable(sub.Name),
			})
		case sub.Worker == topology.WorkerNone:
			out = append(out, problem{
				Node: n.Name, Code: "no_worker", Severity: warning,
				Detail: fmt.Sprintf("subscription %q has no apply worker just now", sub.Name),
				Remedy: "the log of " + n.Name + " says why; raise " + workers(n) + " if all are taken",
			})
		}
	}
	return out
}

// subscribe is how a node is made to read from a peer.
func subscribe(n topology.NodeState, name string) string {
	if n.Engine == "" {
		return fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION '...' PUBLICATION ... WITH (origin = none)", postgres.Ident(name))
	}
	return byHand(n, name)
}

// rebuild is how a node gets what it has missed for good.
func rebuild(n topology.NodeState) string {
	if n.Engine == "" {
		return "healer node rebuild " + n.Name
	}
	return "fill " + n.Name + " anew from another node: " + byHand(n, "...")
}

// byHand is what an extension has people do for a subscription.
func byHand(n topology.NodeState, name string) string {
	var f *topology.Fault
	if _, err := engines.Dialect(n.Engine).Create(engine.Link{Name: name}); errors.As(err, &f) {
		return f.Hint
	}
	return "as " + n.Engine + " documents it"
}

// workers is the setting that bounds how many apply workers there are.
func workers(n topology.NodeState) string {
	if n.Engine == "" {
		return "max_logical_replication_workers"
	}
	return "max_worker_processes"
}

// feeders: the slot that feeds each subscription is there and has its WAL.
func feeders(r reading, n topology.NodeState) []problem {
	var out []problem
	for _, sub := range n.Subscriptions {
		provider, ok := r.obs.Node(sub.Provider)
		if !ok || !provider.Reachable || sub.Slot == "" {
			continue
		}
		i := slices.IndexFunc(provider.Slots, func(s topology.Slot) bool { return s.Name == sub.Slot })
		switch {
		case i < 0:
			out = append(out, problem{
				Node: n.Name, Code: "slot_missing", Severity: blocking,
				Detail: fmt.Sprintf("slot %q on %s, which feeds subscription %q, is gone: what it held back is not sent any more", sub.Slot, provider.Name, sub.Name),
				Remedy: rebuild(n),
			})
		case provider.Slots[i].WALStatus == "lost":
			out = append(out, problem{
				Node: n.Name, Code: "slot_lost", Severity: blocking,
				Detail: fmt.Sprintf("slot %q on %s, which feeds subscription %q, has lost its WAL", sub.Slot, provider.Name, sub.Name),
				Remedy: rebuild(n),
			})
		}
	}
	return out
}

// asked is what only this command asks for.
func asked(r reading, n topology.NodeState) []problem {
	x := r.extras[n.Name]
	var out []problem
	if x.problem != "" {
		out = append(out, problem{
			Node: n.Name, Code: "not_asked", Severity: warning, Detail: "tables, Patroni and the clock are not known: " + x.problem,
			Remedy: "healer doctor, again",
		})
	}
	for _, k := range x.keyless {
		out = append(out, problem{
			Node: n.Name, Code: "no_key", Severity: warning,
			Detail: fmt.Sprintf("table %s is published without a key (replica identity %s): PostgreSQL refuses its UPDATEs and DELETEs", k.Table, k.Identity),
			Remedy: "ALTER TABLE " + k.Table + " ADD PRIMARY KEY (...), or ALTER TABLE " + k.Table + " REPLICA IDENTITY FULL",
		})
	}
	for _, pub := range x.partial {
		if !subscribed(r, n.Name, pub.Publication) {
			continue
		}
		out = append(out, problem{
			Node: n.Name, Code: "published_in_part", Severity: warning,
			Detail: fmt.Sprintf("publication %s leaves out %s: nodes differ by that, and a comparison after a recovery takes it for a divergence, and removes or puts back rows", pub.Publication, pub.LeavesOut),
			Remedy: "ALTER PUBLICATION " + postgres.Ident(pub.Publication) + " SET (publish = 'insert, update, delete, truncate')",
		})
	}
	if x.patroni {
		out = append(out, problem{
			Node: n.Name, Code: "patroni", Severity: warning,
			Detail: "Patroni manages the server, and drops replication slots that it does not know",
			Remedy: "patronictl edit-config: ignore_slots: [" + ignored(n) + "]",
		})
	}
	return out
}

// subscribed reports whether another node subscribes to a publication of the node.
func subscribed(r reading, node, publication string) bool {
	return slices.ContainsFunc(r.obs.Nodes, func(n topology.NodeState) bool {
		sub, ok := n.From(node)
		return ok && slices.Contains(sub.Publications, publication)
	})
}

// ignored are the entries of Patroni's ignore_slots for a node.
func ignored(n topology.NodeState) string {
	plugins := engines.Plugins(n.Engine)
	out := make([]string, len(plugins))
	for i, p := range plugins {
		out[i] = fmt.Sprintf("{type: logical, database: %s, plugin: %s}", n.Database, p)
	}
	return strings.Join(out, ", ")
}

// clocks compares the servers' clocks, by which the last update wins. What the two
// answers' times leave open is not held against them.
func clocks(r reading) []problem {
	var first, last string
	for name, x := range r.extras {
		if !x.clock.known {
			continue
		}
		if first == "" || x.clock.offset < r.extras[first].clock.offset || (x.clock.offset == r.extras[first].clock.offset && name < first) {
			first = name
		}
		if last == "" || x.clock.offset > r.extras[last].clock.offset || (x.clock.offset == r.extras[last].clock.offset && name < last) {
			last = name
		}
	}
	if first == last {
		return nil
	}
	a, b := r.extras[first].clock, r.extras[last].clock
	apart := b.offset - a.offset
	if apart-a.give-b.give < clockLimit {
		return nil
	}
	return []problem{{
		Node: last, Code: "clock", Severity: warning,
		Detail: fmt.Sprintf("the clock of %s is %s ahead of that of %s: where both change a row, the earlier change may win", last, apart.Round(time.Millisecond), first),
		Remedy: "synchronise the clocks (chronyc tracking)",
	}}
}
