package nodes

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"healer/postgres/engine"
	"healer/topology"
)

func TestBeyond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		q    sequence
		end  int64
		want int64
		ok   bool
	}{
		"by one":                 {sequence{Start: 1, Increment: 1, Min: 1, Max: math.MaxInt64}, 500, 1500, true},
		"its own series":         {sequence{Start: 2, Increment: 3, Min: 1, Max: math.MaxInt64}, 300, 3299, true},
		"of the series itself":   {sequence{Start: 3, Increment: 3, Min: 1, Max: math.MaxInt64}, 300, 3300, true},
		"before its start":       {sequence{Start: 90000, Increment: 1, Min: 1, Max: math.MaxInt64}, 5, 90000, true},
		"downwards":              {sequence{Start: -1, Increment: -2, Min: math.MinInt64, Max: -1}, -500, -2499, true},
		"no room for the margin": {sequence{Start: 1, Increment: 1, Min: 1, Max: 600}, 500, 501, true},
		"used up":                {sequence{Start: 1, Increment: 1, Min: 1, Max: 500}, 500, 0, false},
		"at the end of numbers":  {sequence{Start: 1, Increment: 1, Min: 1, Max: math.MaxInt64}, math.MaxInt64, 0, false},
	} {
		if got, ok := c.q.beyond(big.NewInt(c.end)); got != c.want || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", name, got, ok, c.want, c.ok)
		}
	}
}

// Whatever a column has, what comes next lies beyond it, in the sequence's own series.
func TestBeyondStaysInItsSeries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		inc := rapid.Int64Range(-50, 50).Filter(func(n int64) bool { return n != 0 }).Draw(t, "increment")
		q := sequence{Start: rapid.Int64Range(-1000, 1000).Draw(t, "start"), Increment: inc, Min: -1e9, Max: 1e9}
		end := rapid.Int64Range(-100000, 100000).Draw(t, "end")
		next, ok := q.beyond(big.NewInt(end))
		ahead := (next - end) / inc
		if !ok || (next-q.Start)%inc != 0 || (ahead < sequenceMargin-1 && next != q.Start) {
			t.Fatalf("%+v gives %d %v behind %d", q, next, ok, end)
		}
	})
}

func TestSameSeriesIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b sequence
		want bool
	}{
		"apart":         {sequence{Start: 1, Increment: 3}, sequence{Start: 2, Increment: 3}, false},
		"one series":    {sequence{Start: 1, Increment: 3}, sequence{Start: 4, Increment: 3}, true},
		"no convention": {sequence{Start: 1, Increment: 1}, sequence{Start: 1, Increment: 1}, false},
		"downwards":     {sequence{Start: -1, Increment: -2}, sequence{Start: -3, Increment: -2}, true},
		"other steps":   {sequence{Start: 1, Increment: 2}, sequence{Start: 1, Increment: 4}, false},
	} {
		if got := c.a.clashes(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Where survivors do not send the same of a table, the table and both ways are named.
func TestSentOtherwise(t *testing.T) {
	t.Parallel()
	table := func(name, filter string, columns ...string) engine.Replica {
		return engine.Replica{TableName: topology.TableName{Schema: "public", Name: name}, Filter: filter, Columns: columns}
	}
	same := []engine.Replica{table("a", ""), table("b", "(v > 1)"), table("c", "", "id", "v")}
	if said := sentOtherwise("n2", "n3", same, same); len(said) > 0 {
		t.Errorf("the same differs: %v", said)
	}
	got := strings.Join(sentOtherwise("n2", "n3", append(same, table("d", "")), []engine.Replica{
		table("a", "(v > 2)"), table("b", ""), table("c", ""), table("e", ""),
	}), "\n")
	want := `public.a: n2 sends all rows, n3 sends rows WHERE (v > 2)
public.b: n2 sends rows WHERE (v > 1), n3 sends all rows
public.c: n2 sends columns id, v, n3 sends all columns
public.d is published by n2 alone
public.e is published by n3 alone`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
