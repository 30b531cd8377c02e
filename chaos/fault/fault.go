package fault

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fault is one fault, as a scenario has it. Which fields a kind takes, and which it
// needs, is in the table of Kinds.
type Fault struct {
	Kind Kind `yaml:"fault" json:"kind"`
	// Node is whose server, agent or link it is.
	Node string `yaml:"node,omitempty" json:"node,omitempty"`
	// Peer is the other end of a link or subscription; empty means every other node.
	Peer string `yaml:"peer,omitempty" json:"peer,omitempty"`
	// Link is what runs over the link.
	Link Layer `yaml:"link,omitempty" json:"link,omitempty"`
	// Way is the direction that a cut is for; empty means both.
	Way Way `yaml:"way,omitempty" json:"way,omitempty"`
	// Process is which processes of a server are struck.
	Process Process `yaml:"process,omitempty" json:"process,omitempty"`
	// Mode is how a server is stopped: fast or immediate.
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty"`
	// Slot is which slot is dropped: recovery, mesh, or a name.
	Slot string `yaml:"slot,omitempty" json:"slot,omitempty"`
	// Subscription names the subscription; empty means the mesh's own of Node from Peer.
	Subscription string `yaml:"subscription,omitempty" json:"subscription,omitempty"`
	// Delay is what a slow link adds each way.
	Delay time.Duration `yaml:"delay,omitempty" json:"delay,omitempty"`
	// Rate is the bytes a second of a narrow link.
	Rate int `yaml:"rate,omitempty" json:"rate,omitempty"`
	// Times is how often a storm restarts a server.
	Times int `yaml:"times,omitempty" json:"times,omitempty"`
	// Offset is by how much a clock steps.
	Offset time.Duration `yaml:"offset,omitempty" json:"offset,omitempty"`
	// Run and Undo are the commands of the kind "command": what makes the fault, and
	// what ends it. No shell reads them.
	Run  []string `yaml:"run,omitempty" json:"run,omitempty"`
	Undo []string `yaml:"undo,omitempty" json:"undo,omitempty"`
	// Lost says that "command" takes the server of Node away.
	Lost bool `yaml:"lost,omitempty" json:"lost,omitempty"`
}

// Layer is what runs over a link between two nodes.
type Layer string

// The layers.
const (
	// Replication is the changes of Node on their way to Peer, and its confirmations.
	Replication Layer = "replication"
	// SQL is the sessions of the agent of Node on the server of Peer.
	SQL Layer = "sql"
	// Gossip is between the agents, UDP and TCP.
	Gossip Layer = "gossip"
	// NATS is the route between the agents' NATS servers.
	NATS Layer = "nats"
	// Agents is all between the two agents' hosts.
	Agents Layer = "agents"
	// All is everything between the two nodes, both ways.
	All Layer = "all"
)

// Way is a direction over a link.
type Way string

// The ways.
const (
	Both     Way = "both"
	ToPeer   Way = "to_peer"
	FromPeer Way = "from_peer"
)

// Process is a kind of processes of a server.
type Process string

// The processes.
const (
	// Backend is a client's session.
	Backend Process = "backend"
	// Walsender sends the changes of Node to Peer.
	Walsender Process = "walsender"
	// ApplyWorker applies on Node the changes of Peer.
	ApplyWorker Process = "apply_worker"
)

// Target is what the fault befalls, for reports: a node, or two as "n1>n2".
func (f Fault) Target() string {
	switch {
	case f.Peer != "":
		return f.Node + ">" + f.Peer
	case f.Node == "":
		return "all"
	}
	return f.Node
}

// String is the fault in one line, without what is empty.
func (f Fault) String() string {
	parts := []string{string(f.Kind)}
	for _, p := range f.parameters() {
		if p.set {
			parts = append(parts, p.name+"="+p.text)
		}
	}
	return strings.Join(parts, " ")
}

// parameter is one field of a fault beside its kind.
type parameter struct {
	name, text string
	set        bool
}

func (f Fault) parameters() []parameter {
	text := func(name, v string) parameter { return parameter{name, v, v != ""} }
	return []parameter{
		text("node", f.Node), text("peer", f.Peer), text("link", string(f.Link)), text("way", string(f.Way)),
		text("process", string(f.Process)), text("mode", f.Mode), text("slot", f.Slot), text("subscription", f.Subscription),
		{"delay", f.Delay.String(), f.Delay != 0},
		{"rate", fmt.Sprint(f.Rate), f.Rate != 0},
		{"times", fmt.Sprint(f.Times), f.Times != 0},
		{"offset", f.Offset.String(), f.Offset != 0},
		text("run", strings.Join(f.Run, " ")), text("undo", strings.Join(f.Undo, " ")),
		{"lost", "true", f.Lost},
	}
}

// Check says everything that is wrong with the fault in a cluster of these nodes.
// Each problem names the field, the value and the remedy.
func (f Fault) Check(nodes []string) []error {
	k, ok := f.Kind.entry()
	if !ok {
		return []error{fmt.Errorf("fault %q: there is no such kind: use one of %s", f.Kind, strings.Join(names(), ", "))}
	}
	var errs []error
	for _, p := range f.parameters() {
		switch {
		case p.set && !slices.Contains(k.takes, p.name):
			errs = append(errs, fmt.Errorf("%s %q: %s does not take it: leave it out; it takes %s", p.name, p.text, f.Kind, strings.Join(k.takes, ", ")))
		case !p.set && slices.Contains(k.needs, p.name):
			errs = append(errs, fmt.Errorf("%s is missing: %s needs it%s", p.name, f.Kind, among(choices(p.name, nodes))))
		case p.set:
			if can := choices(p.name, nodes); len(can) > 0 && !slices.Contains(can, p.text) {
				errs = append(errs, fmt.Errorf("%s %q: %s", p.name, p.text, among(can)[2:]))
			}
		}
	}
	return append(errs, f.checkValues()...)
}

// checkValues checks what is not a choice.
func (f Fault) checkValues() []error {
	var errs []error
	for _, p := range []struct {
		name string
		bad  bool
		is   any
	}{
		{"delay", f.Delay < 0 || f.Delay > time.Minute, f.Delay},
		{"rate", f.Rate < 0, f.Rate},
		{"times", f.Times < 0 || f.Times > 100, f.Times},
	} {
		if p.bad {
			limit := map[string]string{"delay": "0s to 1m", "rate": "bytes a second above 0", "times": "1 to 100"}[p.name]
			errs = append(errs, fmt.Errorf("%s %v: use %s", p.name, p.is, limit))
		}
	}
	if f.Peer != "" && f.Peer == f.Node && f.Link != SQL {
		errs = append(errs, fmt.Errorf("peer %q: it is the node itself: name another node", f.Peer))
	}
	return errs
}

// choices are what a parameter may be; nil for one that is no choice.
func choices(name string, nodes []string) []string {
	switch name {
	case "node", "peer":
		return nodes
	case "link":
		return []string{string(Replication), string(SQL), string(Gossip), string(NATS), string(Agents), string(All)}
	case "way":
		return []string{string(Both), string(ToPeer), string(FromPeer)}
	case "process":
		return []string{string(Backend), string(Walsender), string(ApplyWorker)}
	case "mode":
		return []string{"fast", "immediate"}
	}
	return nil
}

func among(can []string) string {
	if len(can) == 0 {
		return ""
	}
	return ": use one of " + strings.Join(can, ", ")
}
