package config

import (
	"fmt"
	"strings"
	"time"

	"healer/topology"
)

// crossCheck compares the parts of a file with one another.
func (r *reader) crossCheck(c *Config) {
	r.checkCount(c)
	r.checkUnique(c)
	r.checkNATS(c)
	r.checkSlotNames(c)
	r.checkDetection(c.Detection)
}

func (r *reader) checkCount(c *Config) {
	if _, given := r.at["nodes"]; given && len(c.Nodes) < 2 {
		r.problem("nodes", fmt.Sprintf("has %d node: a mesh has two at least", len(c.Nodes)), "list every node of the mesh")
	}
}

// checkUnique reports names, servers and addresses that two nodes share, and
// addresses that one node uses twice.
func (r *reader) checkUnique(c *Config) {
	seen := map[string]string{}
	once := func(what, key, path, shown string) {
		if key == "" {
			return
		}
		first, again := seen[what+key]
		if !again {
			seen[what+key] = path
			return
		}
		r.problem(path, fmt.Sprintf("%s is that of %s", shown, first), "give each its own")
	}
	for i, n := range c.Nodes {
		p := fmt.Sprintf("nodes[%d].", i)
		once("name", n.Name, p+"name", fmt.Sprintf("the name %q", n.Name))
		once("dsn", strings.Join(strings.Fields(n.DSN), " "), p+"dsn", "the DSN")
		for _, a := range []struct{ field, addr string }{
			{"gossip", n.Gossip},
			{"api", n.API},
			{"nats.client", n.NATS.Client},
			{"nats.cluster", n.NATS.Cluster},
		} {
			once("addr", a.addr, p+a.field, fmt.Sprintf("the address %q", a.addr))
		}
	}
}

// checkNATS wants a place for the embedded server on each node, if there is one.
func (r *reader) checkNATS(c *Config) {
	if !c.EmbeddedNATS() {
		return
	}
	for i := range c.Nodes {
		item := fmt.Sprintf("nodes[%d]", i)
		if _, given := r.at[item+".nats"]; !given {
			r.report(r.at[item], item+".nats", "is missing",
				"write `nats: {client: \"10.0.0.1:4222\", cluster: \"10.0.0.1:6222\"}`, or set nats.url to an external NATS")
		}
	}
}

// checkSlotNames finds nodes whose names make one slot name out of two: the
// slots of one server are told apart by their names alone.
func (r *reader) checkSlotNames(c *Config) {
	const database = "app" // the same prefix for all: it decides nothing
	blamed := map[int]bool{}
	for _, from := range c.Nodes {
		owner := map[string]int{}
		claim := func(slot string, node int) {
			first, taken := owner[slot]
			if !taken {
				owner[slot] = node
				return
			}
			if first == node || blamed[node] || c.Nodes[first].Name == c.Nodes[node].Name {
				return
			}
			blamed[node] = true
			r.problem(fmt.Sprintf("nodes[%d].name", node),
				fmt.Sprintf("%q makes the slot name %q, and so does %q", c.Nodes[node].Name, slot, c.Nodes[first].Name),
				"rename one of the two")
		}
		for i, to := range c.Nodes {
			if to.Name == from.Name {
				continue
			}
			claim(topology.RecoverySlotName(database, from.Name, to.Name), i)
			claim(topology.SeedSlotName(database, from.Name, to.Name), i)
			for _, origin := range c.Nodes {
				if origin.Name != from.Name && origin.Name != to.Name {
					claim(topology.CloneSlotName(database, from.Name, to.Name, origin.Name), i)
				}
			}
		}
	}
}

// checkDetection wants the limits in an order in which they can work.
func (r *reader) checkDetection(d Detection) {
	for _, rule := range []struct {
		field, larger  string
		small, large   time.Duration
		because, other string
	}{
		{
			"detection.silent_after", "detection.probe_timeout", d.ProbeTimeout, d.SilentAfter,
			"one slow answer would already be silence", "make silent_after longer or probe_timeout shorter",
		},
		{
			"detection.evidence_ttl", "detection.probe_interval", 2 * d.ProbeInterval, d.EvidenceTTL,
			"a report would expire before the next one comes", "make evidence_ttl longer than two probe_intervals",
		},
		{
			"detection.gossip.probe_interval", "detection.gossip.probe_timeout", d.Gossip.ProbeTimeout, d.Gossip.ProbeInterval,
			"a probe would still wait when the next one starts", "make gossip.probe_interval longer than gossip.probe_timeout",
		},
	} {
		if rule.large > rule.small {
			continue
		}
		blame := rule.field
		if _, given := r.at[blame]; !given {
			blame = rule.larger
		}
		r.problem(blame, fmt.Sprintf("%s (%s) is too short for %s: %s",
			rule.field, short(rule.large), rule.larger, rule.because), rule.other)
	}
}
