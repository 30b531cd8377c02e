package planner_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"healer/planner"
	"healer/topology"
)

// The language of the golden files: one line a node, "name: clause; clause".
// clauses() lists what can be said of a node. A node reads with timeline 1 and
// a system identifier made from the digits of its name unless it is told.

// clause is one thing that can be said of a node.
type clause struct {
	pattern *regexp.Regexp
	apply   func(t *testing.T, n *topology.NodeState, m []string)
}

func clauses() []clause {
	table := []struct {
		pattern string
		apply   func(t *testing.T, n *topology.NodeState, m []string)
	}{
		{`reads (\w+) to (\S+)( fenced| fenced as system (\d+) timeline (\d+))?( disabled)?( draining)?`, readClause},
		{`reads an unknown node`, func(_ *testing.T, n *topology.NodeState, _ []string) {
			n.Subscriptions = append(n.Subscriptions, topology.Subscription{Name: "sub_unknown", Enabled: true})
		}},
		{`(slot|seed|mesh slot|clone) for (\w+)(?: of (\w+))?( lost)?(?: at (\S+) confirmed (\S+))?`, slotClause},
		{`gap of (\w+) from (\S+) to (\S+)`, func(t *testing.T, n *topology.NodeState, m []string) {
			n.Gaps = append(n.Gaps, topology.GapMark{Origin: m[1], From: lsn(t, m[2]), To: lsn(t, m[3])})
		}},
		{`mark of a fence of (\w+) whose subscription is gone`, func(_ *testing.T, n *topology.NodeState, m []string) {
			n.Fences = append(n.Fences, topology.Fence{Subscription: "gone", Origin: m[1], Identity: identity(m[1])})
		}},
		{`the fence was made by transaction (\d+)`, func(t *testing.T, n *topology.NodeState, m []string) {
			n.Fences[len(n.Fences)-1].Made = uint32(number(t, m[1]))
		}},
		{`bars (\w+) for (\w+)`, func(_ *testing.T, n *topology.NodeState, m []string) {
			n.Bars = append(n.Bars, topology.Bar{Node: m[1], Reason: m[2], Identity: identity(m[1])})
		}},
		{`owes (\w+) a comparison of the gap of (\w+)`, func(_ *testing.T, n *topology.NodeState, m []string) {
			n.Owed = append(n.Owed, topology.Owed{Node: m[1], Origin: m[2]})
		}},
		{`unreachable`, func(_ *testing.T, n *topology.NodeState, _ []string) {
			*n = topology.NodeState{Name: n.Name, Problem: "connection refused"}
		}},
		{`standby`, func(_ *testing.T, n *topology.NodeState, _ []string) { n.InRecovery = true }},
		{`lacks (\w+)`, func(_ *testing.T, n *topology.NodeState, m []string) {
			n.Findings = append(n.Findings, topology.Finding{
				Code: m[1], Detail: m[1] + " is off", Remedy: "ALTER SYSTEM SET " + m[1] + " = on", Blocking: true,
			})
		}},
		{`system (\d+) timeline (\d+)`, func(t *testing.T, n *topology.NodeState, m []string) {
			n.Identity = topology.Identity{SystemID: uint64(number(t, m[1])), Timeline: uint32(number(t, m[2]))}
		}},
		{`left timeline (\d+) at (\S+)`, func(t *testing.T, n *topology.NodeState, m []string) {
			n.Forks = append(n.Forks, topology.Fork{Timeline: uint32(number(t, m[1])), SwitchLSN: lsn(t, m[2])})
		}},
		{`started anew with its log at (\S+)`, func(t *testing.T, n *topology.NodeState, m []string) {
			n.Identity.StartedAt, n.Checkpoint = 1, lsn(t, m[1])
		}},
		{`flushed (\S+)`, func(t *testing.T, n *topology.NodeState, m []string) { n.Flushed = lsn(t, m[1]) }},
		{`PostgreSQL (\d+)`, func(t *testing.T, n *topology.NodeState, m []string) { n.Version = 10000 * number(t, m[1]) }},
		{`a recovery of (\w+) holds the lock`, func(_ *testing.T, n *topology.NodeState, m []string) {
			n.Applying = append(n.Applying, m[1])
		}},
		{`(gets|publishes) (\w+)\((.*)\)(?: for (\w+))?`, tableClause},
		{`has no table (\w+)`, func(_ *testing.T, n *topology.NodeState, m []string) {
			schemaOf(n).Receives = append(schemaOf(n).Receives, topology.Table{TableName: public(m[1]), Missing: true})
		}},
		{`(\w+) is younger than the (slot|clone) for (\w+)`, func(_ *testing.T, n *topology.NodeState, m []string) {
			name := topology.RecoverySlotName("app", n.Name, m[3])
			if m[2] == "clone" {
				name = topology.CloneSlotName("app", n.Name, m[3], "n3")
			}
			schemaOf(n).Younger[name] = append(schemaOf(n).Younger[name], public(m[1]))
		}},
		{`up`, func(*testing.T, *topology.NodeState, []string) {}},
	}
	out := make([]clause, len(table))
	for i, row := range table {
		out[i] = clause{regexp.MustCompile("^" + row.pattern + "$"), row.apply}
	}
	return out
}

func readClause(t *testing.T, n *topology.NodeState, m []string) {
	provider := m[1]
	s := topology.Subscription{
		Name: "sub_" + n.Name + "_" + provider, Provider: provider, Enabled: true,
		Slot: "mesh_" + n.Name, Progress: lsn(t, m[2]), Worker: topology.WorkerIdle,
	}
	if m[3] != "" || m[6] != "" {
		s.Enabled, s.Worker = false, topology.WorkerNone
	}
	if m[7] != "" {
		s.Worker = topology.WorkerBusy
	}
	if m[3] != "" {
		id := identity(provider)
		if m[4] != "" {
			id = topology.Identity{SystemID: uint64(number(t, m[4])), Timeline: uint32(number(t, m[5]))}
		}
		n.Fences = append(n.Fences, topology.Fence{Subscription: s.Name, Origin: provider, Identity: id})
	}
	n.Subscriptions = append(n.Subscriptions, s)
}

// schemaOf is what was read of the node's tables for a recovery of n3.
func schemaOf(n *topology.NodeState) *topology.Schema {
	if n.Schema == nil {
		n.Schema = &topology.Schema{
			Origin: "n3", Publishes: map[string][]topology.Table{}, Younger: map[string][]topology.TableName{},
		}
	}
	return n.Schema
}

func public(name string) topology.TableName { return topology.TableName{Schema: "public", Name: name} }

// tableClause reads a table with its columns, of which each has a type.
func tableClause(t *testing.T, n *topology.NodeState, m []string) {
	table := topology.Table{TableName: public(m[2])}
	classes := map[string]string{"text": "S", "bigint": "N", "boolean": "B", "timestamptz": "D", "jsonb": "U"}
	for c := range strings.SplitSeq(m[3], ", ") {
		name, kind, _ := strings.Cut(c, " ")
		class, ok := classes[kind]
		if !ok {
			t.Fatalf("nobody knows type %q", kind)
		}
		table.Columns = append(table.Columns, topology.Column{Name: name, Type: kind, Category: class})
	}
	s := schemaOf(n)
	if m[1] == "gets" {
		s.Receives = append(s.Receives, table)
		return
	}
	s.Publishes[m[4]] = append(s.Publishes[m[4]], table)
}

func slotClause(t *testing.T, n *topology.NodeState, m []string) {
	s := topology.Slot{To: m[2], Origin: m[3], WALStatus: "reserved"}
	switch m[1] {
	case "slot":
		s.Kind, s.Name = topology.SlotRecovery, topology.RecoverySlotName("app", n.Name, s.To)
	case "seed":
		s.Kind, s.Name = topology.SlotSeed, topology.SeedSlotName("app", n.Name, s.To)
	case "mesh slot":
		s.Kind, s.Name = topology.SlotMesh, "mesh_"+s.To
	case "clone":
		s.Kind, s.Name = topology.SlotClone, topology.CloneSlotName("app", n.Name, s.To, s.Origin)
	}
	if m[4] != "" {
		s.WALStatus = "lost"
	}
	if m[5] != "" {
		s.Restart, s.Confirmed = lsn(t, m[5]), lsn(t, m[6])
	}
	n.Slots = append(n.Slots, s)
}

// identity is what a node is unless it is told otherwise: n3 is system 3.
func identity(node string) topology.Identity {
	id, err := strconv.ParseUint(strings.TrimLeft(node, "n"), 10, 64)
	if err != nil {
		id = 1000
	}
	return topology.Identity{SystemID: id, Timeline: 1}
}

func lsn(t *testing.T, s string) topology.LSN {
	t.Helper()
	l, err := topology.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parseMesh reads an observation.
func parseMesh(t *testing.T, input string) topology.Observation {
	t.Helper()
	obs := topology.Observation{Cluster: "app"}
	known := clauses()
	for line := range strings.Lines(input) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			t.Fatalf("no colon in %q", line)
		}
		n := topology.NodeState{Name: name, Reachable: true, Database: "app", Identity: identity(name), Flushed: 0xF00}
		for said := range strings.SplitSeq(rest, ";") {
			said = strings.TrimSpace(said)
			i := slices.IndexFunc(known, func(c clause) bool { return c.pattern.MatchString(said) })
			if i < 0 {
				t.Fatalf("%s: nobody understands %q", name, said)
			}
			known[i].apply(t, &n, known[i].pattern.FindStringSubmatch(said))
		}
		obs.Nodes = append(obs.Nodes, n)
	}
	return obs
}

// parseTrigger reads the command of a golden test: recovery or rejoin, with
// node, lost, memory (peer@LSN), applied, identity, mode, quorum, paused, approved.
func parseTrigger(t *testing.T, d *datadriven.TestData) (planner.Trigger, planner.Policy) {
	t.Helper()
	tr := planner.Trigger{Kind: planner.Kind(d.Cmd), Incarnation: "life1.1"}
	pol := planner.Policy{Mode: planner.ModeAuto}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "node":
			tr.Node = a.Vals[0]
		case "lost":
			tr.Lost = a.Vals
		case "memory":
			tr.Memory.Confirmed = map[string]topology.LSN{}
			for _, v := range a.Vals {
				peer, at, _ := strings.Cut(v, "@")
				tr.Memory.Confirmed[peer] = lsn(t, at)
			}
		case "remembered":
			tr.Memory.Identity = topology.Identity{SystemID: uint64(number(t, a.Vals[0])), Timeline: uint32(number(t, a.Vals[1]))}
		case "applied": // peer@LSN
			tr.Memory.Applied = map[string]topology.Applied{}
			for _, v := range a.Vals {
				peer, at, _ := strings.Cut(v, "@")
				tr.Memory.Applied[peer] = topology.Applied{LSN: lsn(t, at)}
			}
		case "flushed":
			tr.Memory.End.Flushed = lsn(t, a.Vals[0])
		case "sighted":
			tr.Sighted = map[string]planner.Sighting{}
			for _, v := range a.Vals { // survivor@LSN, or survivor@LSN@transaction of the fence
				part := strings.Split(v+"@0", "@")
				tr.Sighted[part[0]] = planner.Sighting{End: lsn(t, part[1]), Made: uint32(number(t, part[2]))}
			}
		case "next":
			tr.Next = a.Vals
		case "silent":
			tr.Silent = a.Vals
		case "held":
			tr.Held = a.Vals[0]
		case "maintenance":
			pol.Maintenance = a.Vals
		case "capped":
			pol.Mode, pol.Capped = planner.ModeAdvise, a.Vals[0]
		case "witnesses": // all, living
			for i, n := range []*int{&pol.Witnesses, &pol.WitnessesAlive} {
				*n = number(t, a.Vals[i])
			}
		case "rows":
			pol.Rows = true
		case "source":
			pol.Only.Source = a.Vals[0]
		case "target":
			pol.Only.Target = a.Vals[0]
		case "mode":
			pol.Mode = planner.Mode(a.Vals[0])
		case "quorum":
			pol.Quorum = planner.Quorum(a.Vals[0])
		case "paused":
			pol.Paused = true
		case "approved":
			pol.Approved = []string{tr.PlanID("app")}
		default:
			t.Fatalf("nobody understands argument %q", a.Key)
		}
	}
	return tr, pol
}

// explainRefusal is a refusal as the golden files show it.
func explainRefusal(r *planner.Refusal) string {
	passes := "stays until somebody acts"
	if r.Wait {
		passes = "may pass by itself"
	}
	return fmt.Sprintf("REFUSED %s (%s)\n  why: %s\n  remedy: %s\n", r.Reason, passes, r.Why, r.Remedy)
}

func TestGoldens(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			tr, pol := parseTrigger(t, d)
			plan, refusal := planner.Make(tr, parseMesh(t, d.Input), pol)
			if refusal == nil {
				return planner.Explain(plan)
			}
			if plan.Empty() {
				return explainRefusal(refusal)
			}
			return explainRefusal(refusal) + planner.Explain(plan)
		})
	})
}
