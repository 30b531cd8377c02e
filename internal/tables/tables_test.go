package tables

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/compare"
	"healer/postgres/engine"
	"healer/topology"
)

func name(n string) topology.TableName { return topology.TableName{Schema: "public", Name: n} }

// TestSpecs unites what each direction carries of a table.
func TestSpecs(t *testing.T) {
	part := func(node, provider, table string, columns []string, filter string) replica {
		return replica{node, provider, engine.Replica{TableName: name(table), Columns: columns, Filter: filter}}
	}
	got := specs([]replica{
		part("n2", "n1", "b", []string{"a", "b", "c"}, "x > 1"),
		part("n1", "n2", "b", []string{"c", "b"}, "x > 2"),
		part("n3", "n1", "b", nil, "x > 1"),
		part("n3", "n2", "a", nil, ""),
	})
	if diff := cmp.Diff([]compare.Spec{
		{Name: name("a"), Nodes: []string{"n2", "n3"}},
		{Name: name("b"), Nodes: []string{"n1", "n2", "n3"}, Columns: []string{"b", "c"}, Filters: []string{"x > 1", "x > 2"}},
	}, got); diff != "" {
		t.Error(diff)
	}
}
