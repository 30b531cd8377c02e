package config

import (
	"fmt"
	"time"

	"healer/topology"
)

// crossCheck compares the parts of a file with one another.
func (r *reader) crossCheck(c *Config) {
	r.checkUnique(c)
	r.checkNATS(c)
	r.checkAccess(c.NATS)
	r.checkSlotNames(c)
	r.checkDetection(c.Detection)
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
	member := func(p, name, gossip, api string, nats NodeNATS) {
		once("name", name, p+"name", fmt.Sprintf("the name %q", name))
		once("server", r.servers[p+"dsn"], p+"dsn", "the server "+r.servers[p+"dsn"])
		for _, a := range []struct{ field, addr string }{
			{"gossip", gossip},
			{"api", api},
			{"nats.client", nats.Client},
			{"nats.cluster", nats.Cluster},
		} {
			once("addr", a.addr, p+a.field, fmt.Sprintf("the address %q", a.addr))
		}
	}
	for i, n := range c.Nodes {
		member(fmt.Sprintf("nodes[%d].", i), n.Name, n.Gossip, n.API, n.NATS)
	}
	for i, w := range c.Witnesses {
		member(fmt.Sprintf("witnesses[%d].", i), w.Name, w.Gossip, w.API, w.NATS)
	}
}

// checkNATS wants a place for the embedded server on each node, if there is one.
func (r *reader) checkNATS(c *Config) {
	if !c.EmbeddedNATS() {
		return
	}
	for i, n := range c.Nodes {
		if n == (Node{}) {
			continue // nothing of it could be read: that has been said
		}
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
	const at = "detection."
	r.longer(at+"silent_after", d.SilentAfter, at+"probe_timeout", d.ProbeTimeout, 0,
		"one slow answer would already be silence")
	r.longer(at+"evidence_ttl", d.EvidenceTTL, at+"probe_timeout", d.ProbeTimeout, d.ProbeInterval,
		"a report would expire before a slow probe renews it")
	r.atLeast(at+"hold_down_max", d.HoldDownMax, at+"hold_down", d.HoldDown, "a hold-down would begin above its greatest length")
	r.atLeast(at+"flap_window", d.FlapWindow, at+"hold_down_max", d.HoldDownMax, "the failures would be forgotten before the hold-down is over")
	r.longer(at+"gossip.probe_interval", d.Gossip.ProbeInterval, at+"gossip.probe_timeout", d.Gossip.ProbeTimeout, 0,
		"a probe would still wait when the next one starts")
}

// atLeast wants one duration not to be shorter than another.
func (r *reader) atLeast(long string, l time.Duration, brief string, b time.Duration, why string) {
	if l < b {
		r.longer(long, l, brief, b, 0, why)
	}
}

// longer wants one duration to be longer than another and some more. It blames
// the one that the file gives; the other may be a default.
func (r *reader) longer(long string, l time.Duration, brief string, b, more time.Duration, why string) {
	if l > b+more {
		return
	}
	if _, given := r.at[long]; given {
		r.problem(long, fmt.Sprintf("%s is too short beside %s (%s): %s", short(l), brief, short(b), why),
			"use more than "+short(b+more))
		return
	}
	r.problem(brief, fmt.Sprintf("%s is too long beside %s (%s): %s", short(b), long, short(l), why),
		fmt.Sprintf("make it shorter, or set %s to more than %s", long, short(b+more)))
}
