package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// links decides how the node will read from its peers and they from it: as they do
// or did already, where that can be told, under Healer's own names where not.
func (r *rebuild) links(ctx context.Context) error {
	var err error
	for _, p := range r.peers {
		if r.to[p], err = r.link(ctx, p, r.o.node); err != nil {
			return err
		}
		// The old slots of the node hold what it does not need: new ones, by names
		// that are known again.
		name := topology.MeshSlotName(r.Servers[p].Database(), p, r.o.node)
		l := r.to[p]
		l.Name, l.Slot = name, name
		r.to[p] = l
		if r.back[p], err = r.link(ctx, r.o.node, p); err != nil {
			return err
		}
	}
	r.tables, err = r.Engine.Published(ctx, r.source, r.to[r.source].Publications)
	if err == nil && len(r.tables) == 0 {
		err = &topology.Fault{
			Code: "nothing_published", Node: r.source, Hint: "see pg_publication_tables",
			Err: fmt.Errorf("publications %v have no tables", r.to[r.source].Publications),
		}
	}
	return err
}

// link is how to reads, or is to read, from the provider from: its own
// subscription, completed by what other nodes' subscriptions to the same provider
// tell, and by the file.
func (r *rebuild) link(ctx context.Context, from, to string) (engine.Link, error) {
	name := topology.MeshSlotName(r.Servers[from].Database(), from, to)
	out := engine.Link{Name: name, Slot: name}
	if own, ok, err := r.Engine.LinkOf(ctx, to, from); err != nil {
		return out, err
	} else if ok {
		out = own
		if out.Slot == "" {
			out.Slot = name
		}
	}
	for _, n := range r.seen.Nodes {
		if out.ConnInfo != "" || n.Name == from || n.Name == to || !n.Reachable {
			continue
		}
		l, ok, err := r.Engine.LinkOf(ctx, n.Name, from)
		if err != nil {
			return out, err
		}
		if ok {
			out.ConnInfo, out.Publications = l.ConnInfo, l.Publications
		}
	}
	if out.ConnInfo == "" {
		n, _ := r.cfg.Node(from)
		out.ConnInfo = n.DSN
		r.result.Notes = append(r.result.Notes, fmt.Sprintf("%s will connect to %s as the file does; another way: --connection %s=CONNINFO", to, from, from))
	}
	if c := r.o.connections[from]; c != "" {
		out.ConnInfo = c
	}
	if len(out.Publications) == 0 {
		out.Publications = r.anyPublications()
	}
	if len(out.Publications) == 0 {
		return out, &topology.Fault{
			Code: "no_subscription", Node: to, Hint: "let Healer's role read pg_subscription.subconninfo, or join the survivors first",
			Err: fmt.Errorf("no subscription of the mesh tells which publications %s is to read from %s", to, from),
		}
	}
	return out, nil
}

// anyPublications are those that the survivors' subscriptions name.
func (r *rebuild) anyPublications() []string {
	for _, n := range r.others(r.o.node) {
		for _, s := range n.Subscriptions {
			if s.Provider != "" && len(s.Publications) > 0 {
				return s.Publications
			}
		}
	}
	return nil
}

const presentSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname)), '[]')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')`

// present splits the tables by whether the node has them.
func (r *rebuild) present(ctx context.Context) (there, missing []topology.TableName, err error) {
	var all []topology.TableName
	if err := r.Servers[r.o.node].JSON(ctx, &all, presentSQL); err != nil {
		return nil, nil, err
	}
	for _, t := range r.tables {
		if slices.Contains(all, t.TableName) {
			there = append(there, t.TableName)
		} else {
			missing = append(missing, t.TableName)
		}
	}
	return there, missing, nil
}

// empty refuses a node with rows, unless they are to go or are of an earlier run.
func (r *rebuild) empty(ctx context.Context) error {
	if r.o.wipe || r.barredByUs() {
		return nil
	}
	there, _, err := r.present(ctx)
	if err != nil {
		return err
	}
	for _, t := range there {
		var some bool
		if err := r.Servers[r.o.node].JSON(ctx, &some, "SELECT to_jsonb(EXISTS (SELECT FROM "+ident(t)+"))"); err != nil {
			return err
		}
		if some {
			return &topology.Fault{
				Code: "not_empty", Node: r.o.node,
				Hint: "empty it, or let the command do so with --wipe: rows that it alone has are lost",
				Err:  fmt.Errorf("table %s has rows", t),
			}
		}
	}
	return nil
}

func ident(t topology.TableName) string {
	return postgres.Ident(t.Schema) + "." + postgres.Ident(t.Name)
}

func names(tables []topology.TableName) string {
	var out []string
	for _, t := range tables {
		out = append(out, t.String())
	}
	return strings.Join(out, ", ")
}
