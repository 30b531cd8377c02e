package discover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"healer/config"
	"healer/postgres"
	"healer/topology"
)

// mesh is what a walk has found.
type mesh struct {
	// nodes are the servers that read from one another, by host and port.
	nodes []*node
	notes []string
}

// node is one server of the walk.
type node struct {
	server
	// dsn is how it is reached, secrets included; ways are all places at which
	// subscriptions look for it, by their addresses.
	dsn   params
	ways  map[string]*way
	reads []link
}

// way is a place at which some subscriptions look for a server.
type way struct {
	dsn   params
	count int
}

// link is a subscription and the server at its other end.
type link struct {
	subscription
	from *node
}

// walk follows the subscriptions from one server to the others.
type walk struct {
	// given is the connection string that was given, the environment included.
	given params
	// ignored are subscriptions that are not followed.
	ignored []string
	reader  func(context.Context, params) (server, error)
	seen    []*node
	notes   []string
}

// find walks the mesh from the server at the given connection string.
func (w *walk) find(ctx context.Context) (mesh, error) {
	start, err := w.visit(ctx, w.given)
	if err != nil {
		return mesh{}, prefixed("the server of --dsn", err)
	}
	w.given = w.given.with("user", orElse(w.given.get("user"), start.Role))
	if w.given.get("service") == "" {
		start.dsn = start.dsn.with("user", start.Role)
	}
	for looked := 0; looked < len(w.seen); { // those that are found have their turn
		if err := w.follow(ctx, w.seen[looked]); err != nil {
			return mesh{}, err
		}
		looked++
	}
	nodes := w.mutual(start)
	if len(nodes) < 2 {
		return mesh{}, w.alone(start)
	}
	for _, n := range nodes {
		if n != start {
			n.dsn = n.usual()
		}
	}
	w.strangers(nodes)
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.order(), b.order()) })
	return mesh{nodes, w.notes}, nil
}

// visit reads a server. One that was met before is recognised.
func (w *walk) visit(ctx context.Context, dsn params) (*node, error) {
	s, err := w.reader(ctx, dsn)
	if err != nil {
		return nil, err
	}
	for _, n := range w.seen {
		if n.identity == s.identity {
			return n, nil
		}
	}
	n := &node{server: s, dsn: dsn.named(s.Database), ways: map[string]*way{}}
	w.seen = append(w.seen, n)
	return n, nil
}

// follow looks where the subscriptions of a server lead.
func (w *walk) follow(ctx context.Context, n *node) error {
	for _, sub := range n.Subscriptions {
		if slices.Contains(w.ignored, sub.Name) {
			w.note("subscription %s on %s was not followed, as --ignore has it", sub.Name, n.where())
			continue
		}
		if sub.Origin != "none" {
			mend := "ALTER SUBSCRIPTION " + postgres.Ident(sub.Name) + " SET (origin = none)"
			if n.engine() != config.EngineNative {
				mend = "make it anew with forward_origins := '{}'"
			}
			w.note("subscription %s on %s takes changes of every origin: it is no part of a mesh (where it should be: %s)", sub.Name, n.where(), mend)
			continue
		}
		info, err := parseDSN(sub.ConnInfo)
		if err != nil {
			return prefixed(fmt.Sprintf("subscription %s on %s: its connection string cannot be read", sub.Name, n.where()), err)
		}
		dsn := w.given.peer(info, n.host())
		far, err := w.visit(ctx, dsn)
		if err != nil {
			return w.unreached(n, sub, dsn, err)
		}
		far.met(dsn.named(far.Database))
		n.reads = append(n.reads, link{sub, far})
		if !sub.Enabled {
			w.note("subscription %s on %s is disabled", sub.Name, n.where())
		}
	}
	return nil
}

// unreached says what to do about a server that cannot be read. The file would be
// without a node, or without its peers.
func (w *walk) unreached(n *node, sub subscription, dsn params, err error) error {
	role := orElse(w.given.get("user"), "the same role")
	hint := fmt.Sprintf("%s has to reach it from here, with the password from a passfile (or, for init alone, PGPASSWORD); if it is no node of the mesh, give --ignore %s",
		role, sub.Name)
	var f *topology.Fault
	if errors.As(err, &f) && f.Hint != "" {
		hint = f.Hint + "; if it is no node of the mesh, give --ignore " + sub.Name
	}
	return &topology.Fault{
		Code: "node_unreadable", Hint: hint,
		Err: fmt.Errorf("%s, from which subscription %s on %s reads, cannot be read: %s", address(dsn), sub.Name, n.where(), plain(err)),
	}
}

// mutual are the servers that read from start, over however many others, and from
// which start reads: those that do not are told.
func (w *walk) mutual(start *node) (nodes []*node) {
	from := reach(start, func(n *node) (out []*node) {
		for _, l := range n.reads {
			out = append(out, l.from)
		}
		return out
	})
	to := reach(start, func(n *node) (out []*node) {
		for _, other := range w.seen {
			if slices.ContainsFunc(other.reads, func(l link) bool { return l.from == n }) {
				out = append(out, other)
			}
		}
		return out
	})
	for _, n := range w.seen {
		if from[n] && to[n] {
			nodes = append(nodes, n)
			continue
		}
		w.note("%s feeds the mesh and does not read from it: it is not in the file", n.where())
	}
	return nodes
}

func reach(start *node, next func(*node) []*node) map[*node]bool {
	met, todo := map[*node]bool{start: true}, []*node{start}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		for _, m := range next(n) {
			if !met[m] {
				met[m] = true
				todo = append(todo, m)
			}
		}
	}
	return met
}

// alone says why one server is no mesh.
func (w *walk) alone(start *node) error {
	f := &topology.Fault{
		Code: "no_mesh", Hint: "name a node of a mesh in which every node subscribes to every other with origin = none",
		Err: fmt.Errorf("%s and no other server read from each other", start.where()),
	}
	if start.engine() == config.EngineNative && len(start.Engines) > 0 {
		f.Code, f.Hint = "engine_unfit", "this release finds meshes of PostgreSQL's own logical replication, of pglogical and of Spock"
		f.Err = fmt.Errorf("%s has no subscriptions of PostgreSQL's own, but the extension %s", start.where(), strings.Join(start.Engines, ", "))
	}
	if len(w.notes) > 0 {
		f.Err = fmt.Errorf("%w\n  %s", f.Err, strings.Join(w.notes, "\n  "))
	}
	return f
}

// strangers tells of slots that feed nobody in the file, and of links that are not there.
func (w *walk) strangers(nodes []*node) {
	const ours = "spock_" // what Healer makes begins so: topology.RecoverySlotName
	for _, n := range nodes {
		fed := map[string]bool{}
		for _, other := range nodes {
			linked := false
			for _, l := range other.reads {
				if l.from == n {
					fed[l.Slot], linked = true, true
				}
			}
			if other != n && !linked {
				w.note("%s has no subscription to %s: see healer doctor", other.where(), n.where())
			}
		}
		for _, s := range n.Slots {
			if !fed[s.Name] && !strings.HasPrefix(s.Name, ours) {
				w.note("slot %s on %s feeds no node of the file%s", s.Name, n.where(), s.reader())
			}
		}
	}
}

func (s slot) reader() string {
	switch {
	case s.Client != "":
		return fmt.Sprintf(", but %s at %s", orElse(s.Application, "somebody"), s.Client)
	case s.Application != "":
		return ", but " + s.Application
	}
	return ": nobody reads it now"
}

func (w *walk) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(w.notes, n) {
		w.notes = append(w.notes, n)
	}
}

// met counts a subscription that looks for the server there.
func (n *node) met(dsn params) {
	at := address(dsn)
	if n.ways[at] == nil {
		n.ways[at] = &way{dsn: dsn}
	}
	n.ways[at].count++
}

// usual is where most subscriptions look for the server.
func (n *node) usual() params {
	best := ""
	for at, w := range n.ways {
		if best == "" || w.count > n.ways[best].count || (w.count == n.ways[best].count && at < best) {
			best = at
		}
	}
	return n.ways[best].dsn
}

// host is the host that the connection string leads to, by way of a service too.
func (n *node) host() string {
	if h := n.dsn.get("host"); h != "" || n.dsn.get("service") == "" {
		return h
	}
	at, err := postgres.ParseEndpoint(n.dsn.String())
	if err != nil {
		return "" // it was connected to: it can be read
	}
	return at.Host
}

// where is how a server is called while it has no name.
func (n *node) where() string { return address(n.dsn) }

// order sorts servers by host and port, 5432 before 15432.
func (n *node) order() string { return fmt.Sprintf("%s %6s %s", n.host(), port(n.dsn), n.Database) }

func port(p params) string { return orElse(p.get("port"), "5432") }

// address is where a connection string leads, without anything secret.
func address(p params) string {
	if s := p.get("service"); s != "" && p.get("host") == "" {
		return "service " + s
	}
	return join(orElse(p.get("host"), "localhost"), port(p)) + "/" + p.get("dbname")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// prefixed keeps the remedy of a fault.
func prefixed(what string, err error) error {
	var f *topology.Fault
	if errors.As(err, &f) {
		c := *f
		c.Node, c.Err = "", fmt.Errorf("%s: %s", what, plain(err))
		return &c
	}
	return fmt.Errorf("%s: %w", what, err)
}

// plain is an error without its hint, which stands elsewhere.
func plain(err error) string {
	var f *topology.Fault
	if errors.As(err, &f) && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}
