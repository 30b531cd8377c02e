package tables

import (
	"context"
	"slices"
	"strings"

	"healer/compare"
	"healer/postgres/engine"
	"healer/topology"
)

// replica is one direction in which a table is replicated.
type replica struct {
	node, provider string
	engine.Replica
}

// Engine tells what a node receives from another. postgres/engine satisfies it.
type Engine interface {
	Replicas(ctx context.Context, node, provider string) ([]engine.Replica, error)
}

// Of are the tables that the pairs of nodes exchange.
func Of(ctx context.Context, e Engine, pairs []engine.Pair) ([]compare.Spec, error) {
	var all []replica
	for _, p := range pairs {
		got, err := e.Replicas(ctx, p.To, p.From)
		if err != nil {
			return nil, err
		}
		for _, r := range got {
			all = append(all, replica{node: p.To, provider: p.From, Replica: r})
		}
	}
	return specs(all), nil
}

// specs makes of what is replicated between nodes what is to be compared: each
// table once, on the nodes that send or receive it, as to the columns and rows that
// every direction carries. What one direction holds back may differ.
func specs(all []replica) []compare.Spec {
	byName := map[topology.TableName]*compare.Spec{}
	var names []topology.TableName
	for _, r := range all {
		s := byName[r.TableName]
		if s == nil {
			s = &compare.Spec{Name: r.TableName}
			byName[r.TableName] = s
			names = append(names, r.TableName)
		}
		for _, n := range []string{r.node, r.provider} {
			if !slices.Contains(s.Nodes, n) {
				s.Nodes = append(s.Nodes, n)
			}
		}
		switch {
		case r.Columns == nil:
		case s.Columns == nil:
			s.Columns = slices.Clone(r.Columns)
		default:
			s.Columns = slices.DeleteFunc(s.Columns, func(c string) bool { return !slices.Contains(r.Columns, c) })
		}
		if r.Filter != "" && !slices.Contains(s.Filters, r.Filter) {
			s.Filters = append(s.Filters, r.Filter)
		}
	}
	out := make([]compare.Spec, len(names))
	for i, n := range names {
		slices.Sort(byName[n].Nodes)
		out[i] = *byName[n]
	}
	slices.SortFunc(out, func(a, b compare.Spec) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	return out
}
