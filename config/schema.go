package config

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// root reads the whole file into c and then compares its parts.
func (r *reader) root(n ast.Node, c *Config, check DSNCheck) {
	v := value{r: r, node: n}
	v.mapping([]field{
		{name: "cluster", need: "name the cluster, such as `cluster: app`", read: named(&c.Cluster, "a-z0-9-", "app")},
		{name: "engine", read: oneOf(&c.Engine,
			choice{word: string(EngineAuto)}, choice{word: string(EngineNative)}, choice{word: string(EnginePglogical)},
			choice{word: string(EngineSpock)})},
		{name: "mode", read: oneOf(&c.Mode,
			choice{word: string(ModeObserve)}, choice{word: string(ModeAdvise)}, choice{word: string(ModeAuto)})},
		{
			name: "nodes", need: "list the nodes of the mesh, each with name, dsn, gossip and api",
			read: func(v value) { c.Nodes = v.members(check) },
		},
		{name: "witnesses", read: func(v value) { c.Witnesses = v.witnesses() }},
		{name: "api", read: func(v value) { v.api(&c.API) }},
		{name: "nats", read: func(v value) { v.nats(&c.NATS) }},
		{name: "gossip", read: func(v value) {
			v.mapping([]field{{name: "keys", read: keyFile(&c.Gossip.Keys)}})
		}},
		{name: "detection", read: detection(&c.Detection)},
		{name: "recovery", read: recovery(&c.Recovery)},
		{name: "keeper", read: func(v value) {
			v.mapping([]field{{name: "interval", read: duration(&c.Keeper.Interval, 10*time.Millisecond, time.Minute)}})
		}},
		{name: "slots", read: func(v value) {
			v.mapping([]field{
				{name: "warn_bytes", read: size(&c.Slots.WarnBytes, 1<<20)},
				{name: "max_bytes", read: size(&c.Slots.MaxBytes, 1<<20)},
				{name: "release_after", read: duration(&c.Slots.ReleaseAfter, 0, 365*24*time.Hour)},
				{name: "release_mesh_slots", read: yesNo(&c.Slots.ReleaseMeshSlots)},
			})
		}},
		{name: "hooks", read: func(v value) { c.Hooks = v.hooks() }},
	})
	r.crossCheck(c)
}

// members reads the nodes. An item that says nothing keeps its place, so that
// the paths of problems count as the operator does.
func (v value) members(check DSNCheck) []Node {
	var nodes []Node
	count, ok := v.list(func(i int, item value) {
		nodes = append(nodes, make([]Node, i+1-len(nodes))...)
		nodes[i] = item.member(check)
	})
	if ok && count < 2 {
		v.bad(fmt.Sprintf("lists %d of the mesh's nodes: it has two at least", count), "list every node")
	}
	return nodes
}

// member reads one node. A node with problems is kept all the same, so that
// the checks between nodes see it.
func (v value) member(check DSNCheck) Node {
	var n Node
	v.mapping([]field{
		{name: "name", need: "name the node, such as n1", read: named(&n.Name, "a-z0-9_-", "n1")},
		{
			name: "dsn", need: "say how to connect, such as \"host=10.0.0.1 dbname=app user=healer\"",
			read: dsn(&n.DSN, check),
		},
		{name: "gossip", need: "give the agent's gossip address, such as 10.0.0.1:7941", read: hostport(&n.Gossip)},
		{name: "api", need: "give the agent's HTTP address, such as 10.0.0.1:8081", read: hostport(&n.API)},
		{name: "nats", read: natsOf(&n.NATS)},
	})
	return n
}

// witnesses reads the members without a server. An item that says nothing keeps
// its place.
func (v value) witnesses() []Witness {
	var all []Witness
	v.list(func(i int, item value) {
		all = append(all, make([]Witness, i+1-len(all))...)
		w := &all[i]
		item.mapping([]field{
			{name: "name", need: "name the witness, such as w1", read: named(&w.Name, "a-z0-9_-", "w1")},
			{name: "gossip", need: "give the witness's gossip address, such as 10.0.0.9:7941", read: hostport(&w.Gossip)},
			{name: "api", need: "give the witness's HTTP address, such as 10.0.0.9:8081", read: hostport(&w.API)},
			{name: "nats", read: natsOf(&w.NATS)},
		})
	})
	return all
}

func natsOf(n *NodeNATS) func(value) {
	return func(v value) {
		v.mapping([]field{
			{name: "client", need: "give the address for clients, such as 10.0.0.1:4222", read: hostport(&n.Client)},
			{name: "cluster", need: "give the address for the other servers, such as 10.0.0.1:6222", read: hostport(&n.Cluster)},
		})
	}
}

func detection(d *Detection) func(value) {
	return func(v value) {
		v.mapping([]field{
			{name: "probe_interval", read: duration(&d.ProbeInterval, 10*time.Millisecond, time.Minute)},
			{name: "probe_timeout", read: duration(&d.ProbeTimeout, 10*time.Millisecond, time.Minute)},
			{name: "silent_after", read: duration(&d.SilentAfter, 100*time.Millisecond, 10*time.Minute)},
			{name: "evidence_ttl", read: duration(&d.EvidenceTTL, 100*time.Millisecond, 10*time.Minute)},
			{name: "startup_grace", read: duration(&d.StartupGrace, 100*time.Millisecond, 10*time.Minute)},
			{name: "quorum", read: oneOf(&d.Quorum, choice{word: string(QuorumMajority)}, choice{word: string(QuorumHalf)})},
			{name: "flap_after", read: count(&d.FlapAfter, 1, 1000)},
			{name: "flap_window", read: duration(&d.FlapWindow, time.Second, 24*time.Hour)},
			{name: "hold_down", read: duration(&d.HoldDown, 100*time.Millisecond, time.Hour)},
			{name: "hold_down_max", read: duration(&d.HoldDownMax, 100*time.Millisecond, 24*time.Hour)},
			{name: "gossip", read: func(v value) {
				v.mapping([]field{
					{name: "probe_interval", read: duration(&d.Gossip.ProbeInterval, 10*time.Millisecond, time.Minute)},
					{name: "probe_timeout", read: duration(&d.Gossip.ProbeTimeout, 10*time.Millisecond, time.Minute)},
					{name: "interval", read: duration(&d.Gossip.Interval, 10*time.Millisecond, time.Minute)},
				})
			}},
		})
	}
}

func recovery(c *Recovery) func(value) {
	return func(v value) {
		v.mapping([]field{
			{name: "conflicts", read: oneOf(&c.Conflicts,
				choice{word: string(LastUpdateWins)}, choice{word: string(ApplyRemote)},
				choice{word: string(KeepLocal)}, choice{word: string(StopAtConflict)},
				choice{word: "first_update_wins", refused: "is not supported in this release"},
				choice{word: "error", refused: "is called stop here"})},
			{name: "fallback", read: oneOf(&c.Fallback, choice{word: string(RefuseGap)}, choice{word: string(CarryRows)})},
			{name: "drain_timeout", read: duration(&c.DrainTimeout, 100*time.Millisecond, time.Hour)},
			{name: "step_timeout", read: duration(&c.StepTimeout, time.Second, 24*time.Hour)},
			{name: "subscribe_timeout", read: duration(&c.SubscribeTimeout, time.Second, 30*24*time.Hour)},
			{name: "verify_timeout", read: duration(&c.VerifyTimeout, time.Second, 24*time.Hour)},
			{name: "hold_down", read: duration(&c.HoldDown, 0, 24*time.Hour)},
		})
	}
}

// dsn reads a connection string. Its value is never shown; what the check says
// about it is.
func dsn(dst *string, check DSNCheck) func(value) {
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		*dst = s
		if s == "" {
			v.bad("is empty", "say how to connect, such as \"host=10.0.0.1 dbname=app user=healer\"")
			return
		}
		if check == nil {
			return
		}
		server, err := check(s)
		if err != nil {
			v.bad("cannot be read: "+hide(strings.Join(strings.Fields(err.Error()), " ")),
				"write key=value words, such as \"host=10.0.0.1 dbname=app user=healer\", or a URL, such as \"postgres://healer@10.0.0.1/app\"")
			return
		}
		v.r.servers[v.path] = server
	}
}

// path reads the name of a file. It is absolute: agents and commands start in
// directories of their own.
func path(dst *string) func(value) {
	return func(v value) {
		s, ok := v.word()
		switch {
		case !ok || s == "":
		case !filepath.IsAbs(s):
			v.bad(show(s)+" is not an absolute path", "write it from the root on, such as /etc/healer/ca.pem")
		default:
			*dst = s
		}
	}
}

// keyFile reads the name of a file of keys. Keys themselves do not belong into
// this file, which more people may read; one that is found here is not shown.
func keyFile(dst *string) func(value) {
	return func(v value) {
		s, _ := v.word()
		if raw, err := base64.StdEncoding.DecodeString(s); err == nil && len(raw) >= 16 {
			v.bad("is a key and not the name of a file of keys",
				"write the key into a file that only the agent's user can read, and its name here, such as /etc/healer/gossip.keys")
			return
		}
		secretPath(dst)(v)
	}
}
