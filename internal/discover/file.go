package discover

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ports are the first ports of the agents. Agents that share a host count on from them.
type ports struct{ gossip, api, nats, route int }

// plan is a cluster's file before it is written.
type plan struct {
	Cluster string    `json:"cluster"`
	Engine  string    `json:"engine"`
	Nodes   []planned `json:"nodes"`
	// Named is where the names of the nodes come from.
	Named string `json:"named_by"`
	// Notes are what an operator has to look at.
	Notes []string `json:"notes"`
}

type planned struct {
	Name string `json:"name"`
	// Server is host:port/database.
	Server   string   `json:"server"`
	DSN      string   `json:"dsn"`
	Gossip   string   `json:"gossip"`
	API      string   `json:"api"`
	Client   string   `json:"nats_client"`
	Route    string   `json:"nats_cluster"`
	SystemID string   `json:"system_id"`
	Version  int      `json:"version"`
	Reads    []string `json:"reads_from"`
}

// planOf is the file for a mesh.
func planOf(cluster string, m mesh, p ports, environ []string) plan {
	out := plan{Cluster: cluster, Engine: string(m.nodes[0].engine()), Notes: m.notes}
	var all []hints
	for _, n := range m.nodes {
		all = append(all, n.hints(m.nodes))
	}
	names, how := nameAll(all)
	out.Named = how
	nameOf := map[*node]string{}
	for i, n := range m.nodes {
		nameOf[n] = names[i]
	}
	m.nodes = slices.SortedStableFunc(slices.Values(m.nodes), func(a, b *node) int { return strings.Compare(nameOf[a], nameOf[b]) })
	hosts, secret := map[string]int{}, variable(environ, "PGPASSWORD") != ""
	for i, n := range m.nodes {
		host := agentHost(n.host())
		at := func(first int) string { return join(host, strconv.Itoa(first+hosts[host])) }
		clean := n.dsn.without(secrets()...)
		secret = secret || len(clean) < len(n.dsn)
		out.Nodes = append(out.Nodes, planned{
			Name: nameOf[n], Server: n.where(), DSN: clean.String(), SystemID: n.SystemID, Version: n.Version,
			Gossip: at(p.gossip), API: at(p.api), Client: at(p.nats), Route: at(p.route), Reads: n.readsFrom(nameOf),
		})
		hosts[host]++
		out.alike(n, m.nodes[:i], nameOf)
	}
	out.advise(m, secret)
	return out
}

// hints are what the node's name may be told from.
func (n *node) hints(all []*node) hints {
	h := hints{node: n.NodeName, cluster: n.ClusterName, host: n.host()}
	for _, l := range n.reads {
		h.own = append(h.own, l.Name+" "+l.Slot)
		info, _ := parseDSN(l.ConnInfo) // it was read before
		h.applications = append(h.applications, info.get("application_name"))
	}
	for _, other := range all {
		for _, l := range other.reads {
			if l.from == n {
				h.readers = append(h.readers, l.Name+" "+l.Slot)
			}
		}
	}
	return h
}

func (n *node) readsFrom(names map[*node]string) []string {
	out := []string{}
	for _, l := range n.reads {
		if name := names[l.from]; name != "" {
			out = append(out, name)
		}
	}
	return out
}

// alike notes what may surprise about a node beside those before it.
func (p *plan) alike(n *node, before []*node, names map[*node]string) {
	for _, a := range slices.Sorted(maps.Keys(n.ways)) {
		if a != n.where() {
			p.Notes = append(p.Notes, fmt.Sprintf("subscriptions reach %s at %s, the file at %s: write what every agent reaches", names[n], a, n.where()))
		}
	}
	for _, other := range before {
		if other.SystemID == n.SystemID && other.StartedAt != n.StartedAt {
			p.Notes = append(p.Notes, fmt.Sprintf("%s and %s have the same system identifier, as copies of one server do", names[other], names[n]))
		}
	}
}

// advise says what a server cannot tell.
func (p *plan) advise(m mesh, secret bool) {
	add := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	add("the names of the nodes come from %s; change them before the first agent starts", p.Named)
	add("gossip, api and nats are where the agents listen: hosts and ports that every agent's host reaches")
	if secret {
		add("no password is in this file: put it into a file that only the agent's user can read (0600), one line " +
			"`host:port:database:user:password` for each server, and write passfile=/that/file into each dsn")
	}
	for _, n := range m.nodes {
		if f := n.dsn.get("passfile"); f != "" {
			add("%s has to be on the host of every agent, readable for the agent's user alone", f)
			break
		}
	}
	for i, n := range m.nodes {
		if local(n.host()) && len(m.nodes) > 1 {
			add("%s is at %s, which only its own host reaches: if the agents run on several hosts, write its address", p.Nodes[i].Name, p.Nodes[i].Server)
			break
		}
	}
	if len(m.nodes) == 2 {
		add("two nodes need a witness: without one Healer only advises (witnesses: in docs/operations.md)")
	}
}

// text is the file.
func (p plan) text() string {
	var b strings.Builder
	b.WriteString("# The cluster's file, the same on every host. Made by `healer init`, then yours.\n# Look at this before the first agent starts:\n#\n")
	for _, n := range p.Notes {
		b.WriteString("#   - " + strings.ReplaceAll(n, "\n", " ") + "\n")
	}
	fmt.Fprintf(&b, "\ncluster: %s\nengine: %s\nmode: auto            # observe: report only; advise: run what is approved\nnodes:\n", p.Cluster, p.Engine)
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "  # PostgreSQL %s, system identifier %s\n  - name: %s\n    dsn: %s\n    gossip: %s\n    api: %s\n    nats: {client: %s, cluster: %s}\n",
			release(n.Version), n.SystemID, n.Name, yamlString(n.DSN), yamlString(n.Gossip), yamlString(n.API), yamlString(n.Client), yamlString(n.Route))
	}
	return b.String()
}

func release(v int) string { return fmt.Sprintf("%d.%d", v/10000, v%10000) }

// yamlString quotes a text as JSON does, which YAML reads.
func yamlString(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always has a form
	return strings.TrimSpace(b.String())
}
