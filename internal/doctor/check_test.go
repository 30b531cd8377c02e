package doctor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

// healthy is a cluster of three nodes of which there is nothing to say.
func healthy() reading {
	r := reading{extras: map[string]extra{}}
	names := []string{"n1", "n2", "n3"}
	for _, name := range names {
		n := topology.NodeState{Name: name, Reachable: true, Version: 180004, Database: "app"}
		for _, peer := range names {
			if peer != name {
				n.Subscriptions = append(n.Subscriptions, topology.Subscription{
					Name: "from_" + peer, Provider: peer, Enabled: true, Slot: "for_" + name, Worker: topology.WorkerIdle,
				})
				n.Slots = append(n.Slots, topology.Slot{Name: "for_" + peer, Kind: topology.SlotMesh, To: peer, WALStatus: "reserved"})
			}
		}
		r.obs.Nodes = append(r.obs.Nodes, n)
		r.extras[name] = extra{clock: clock{known: true, give: time.Millisecond}}
	}
	return r
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r reading) reading
		want  []string
	}{
		"healthy": {func(r reading) reading { return r }, nil},
		"a server that is away": {func(r reading) reading {
			r.obs.Nodes[2] = topology.NodeState{Name: "n3", Problem: "refused"}
			return r
		}, []string{"n3 blocking unreachable"}},
		"a server that has lost what it had sent": {func(r reading) reading {
			r.obs.Nodes[0].Identity, r.obs.Nodes[0].Flushed = topology.Identity{SystemID: 1, Timeline: 1}, 90
			r.obs.Nodes[1].Subscriptions[0].Progress = 100
			return r
		}, []string{"n1 blocking behind_watermark"}},
		"agents of two versions": {func(r reading) reading {
			r.builds = map[string]string{"n1": "v1", "n2": "v2"}
			return r
		}, []string{" info mixed_versions"}},
		"an old and a new server": {func(r reading) reading {
			r.obs.Nodes[0].Version, r.obs.Nodes[1].Version = 150012, 190000
			return r
		}, []string{"n1 blocking version", "n2 warning version"}},
		"findings, the gravest first": {func(r reading) reading {
			r.obs.Nodes[1].Findings = []topology.Finding{
				{Code: "free_slots", Detail: "few", Remedy: "more"}, {Code: "wal_level", Detail: "no", Remedy: "yes", Blocking: true},
			}
			return r
		}, []string{"n2 blocking wal_level", "n2 warning free_slots"}},
		"no subscription": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions = r.obs.Nodes[0].Subscriptions[:1]
			return r
		}, []string{"n1 blocking link_missing"}},
		"one from somewhere": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions[1].Provider = ""
			return r
		}, []string{"n1 warning provider_unknown"}},
		"disabled by hand": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions[0].Enabled = false
			return r
		}, []string{"n1 warning subscription_disabled"}},
		"disabled by a fence": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions[0].Enabled = false
			r.obs.Nodes[0].Fences = []topology.Fence{{Origin: "n2"}}
			return r
		}, []string{"n1 info fenced"}},
		"without a worker": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions[0].Worker = topology.WorkerNone
			return r
		}, []string{"n1 warning no_worker"}},
		"slots that are gone and lost": {func(r reading) reading {
			r.obs.Nodes[1].Slots[0].WALStatus = "lost"
			r.obs.Nodes[2].Slots = nil
			return r
		}, []string{"n1 blocking slot_lost", "n1 blocking slot_missing", "n2 blocking slot_missing"}},
		"what only this asks": {func(r reading) reading {
			r.extras["n2"] = extra{keyless: []keyless{{"public.log", "default"}}, patroni: true, problem: "timeout"}
			return r
		}, []string{"n2 warning not_asked", "n2 warning no_key", "n2 warning patroni"}},
		"a publication without all changes, and one for somebody else": {func(r reading) reading {
			r.obs.Nodes[0].Subscriptions[0].Publications = []string{"mesh"}
			r.extras["n2"] = extra{partial: []partial{{"mesh", "truncate"}, {"archive", "delete"}}}
			return r
		}, []string{"n2 warning published_in_part"}},
		"clocks": {func(r reading) reading {
			r.extras["n3"] = extra{clock: clock{known: true, offset: 3 * time.Second, give: time.Millisecond}}
			return r
		}, []string{"n3 warning clock"}},
		"clocks that may be the same": {func(r reading) reading {
			r.extras["n3"] = extra{clock: clock{known: true, offset: 3 * time.Second, give: 3 * time.Second}}
			return r
		}, nil},
		"two nodes alone": {func(r reading) reading {
			r.noWitness = true
			return r
		}, []string{" warning no_witness"}},
	} {
		var got []string
		for _, p := range check(c.spoil(healthy())) {
			got = append(got, fmt.Sprintf("%s %s %s", p.Node, p.Severity, p.Code))
			if p.Detail == "" || p.Remedy == "" {
				t.Errorf("%s: %s without a detail or a remedy", name, p.Code)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestText(t *testing.T) {
	r := healthy()
	r.obs.Nodes[2] = topology.NodeState{Name: "n3", Problem: "refused"}
	r.noWitness = true
	got := reportOf("app", r).text()
	for _, want := range []string{
		"n1  PostgreSQL 18.4\n  all is as it has to be\n",
		"n3  not reachable\n  blocking  unreachable: the server cannot be read: refused\n            start it",
		"  warning   no_witness: ", "\napp: 1 blocking, 1 warning\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Patroni is told the plugins of the slots that the node's engine has.
func TestPatronisSlots(t *testing.T) {
	for engine, want := range map[string]string{
		"":          "ignore_slots: [{type: logical, database: app, plugin: pgoutput}]",
		"pglogical": "ignore_slots: [{type: logical, database: app, plugin: pgoutput}, {type: logical, database: app, plugin: pglogical_output}]",
		"spock":     "ignore_slots: [{type: logical, database: app, plugin: spock_output}]",
	} {
		r := healthy()
		r.obs.Nodes[0].Engine = engine
		r.extras["n1"] = extra{patroni: true}
		problems := check(r)
		if len(problems) != 1 || problems[0].Code != "patroni" || !strings.HasSuffix(problems[0].Remedy, want) {
			t.Errorf("engine %q: %+v, want %s", engine, problems, want)
		}
	}
}

// What mends a mesh of an extension is said in its own words.
func TestRemediesOfExtensions(t *testing.T) {
	for engine, want := range map[string][]string{
		"pglogical": {"pglogical.create_subscription(", `alter_subscription_enable('from_n3', false)`},
		"spock":     {"zodan.sql", `spock.sub_enable('from_n3', false)`},
	} {
		r := healthy()
		for i := range r.obs.Nodes {
			r.obs.Nodes[i].Engine, r.obs.Nodes[i].Version = engine, 150012
		}
		if problems := check(r); len(problems) != 0 {
			t.Errorf("%s on PostgreSQL 15: %+v", engine, problems)
		}
		n1 := &r.obs.Nodes[0]
		n1.Subscriptions = n1.Subscriptions[1:]
		n1.Subscriptions[0].Enabled = false
		r.obs.Nodes[2].Slots = nil
		said := fmt.Sprintf("%+v", check(r))
		for _, w := range append(want, "fill n1 anew") {
			if !strings.Contains(said, w) {
				t.Errorf("%s: no %q in %s", engine, w, said)
			}
		}
		if strings.Contains(said, "node rebuild") || strings.Contains(said, "ALTER SUBSCRIPTION") {
			t.Errorf("%s: the words of another engine: %s", engine, said)
		}
	}
}
