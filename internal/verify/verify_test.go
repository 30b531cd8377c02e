package verify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/compare"
	"healer/topology"
)

func name(n string) topology.TableName { return topology.TableName{Schema: "public", Name: n} }

func TestPatterns(t *testing.T) {
	all := []compare.Spec{
		{Name: name("orders")},
		{Name: name("order_lines")},
		{Name: name("T.x")},
		{Name: topology.TableName{Schema: "Odd, one", Name: "*"}},
	}
	exists := func(n topology.TableName) (bool, error) { return n == name("local"), nil }
	for text, want := range map[string]string{
		"public.orders":                  "public.orders",
		"public.order*":                  "public.orders public.order_lines",
		"*.*":                            "public.orders public.order_lines public.T.x Odd, one.*",
		"public.order?":                  "public.orders",
		"public.[op]rders,public.orders": "public.orders",
		`public."T.x",public.orders`:     "public.T.x public.orders",
		`"Odd, one"."*"`:                 "Odd, one.*",
		"public.local":                   "public.local",
		"public.none":                    "there is no table public.none on the nodes",
		"public.non*":                    "no table public.non* is replicated between the nodes",
		"public.Orders":                  "there is no table public.Orders on the nodes",
		"orders":                         "name tables as SCHEMA.TABLE, such as public.orders",
		"a.b.c":                          "name tables as SCHEMA.TABLE",
		".x":                             "name tables as SCHEMA.TABLE",
		"":                               "name tables as SCHEMA.TABLE",
		`public."x`:                      "a quote is not closed",
		"public.[x":                      "syntax error in pattern",
		`public."with ""quotes"""`:       `there is no table public."with ""quotes""" on the nodes`,
	} {
		ps, err := parsePatterns(text)
		var got []compare.Spec
		if err == nil {
			got, err = pick(all, ps, exists)
		}
		names := make([]string, len(got))
		for i, s := range got {
			names[i] = s.Name.String()
		}
		if err != nil {
			names = []string{err.Error()}
		}
		if have := strings.Join(names, " "); (err == nil && have != want) || !strings.Contains(have, want) {
			t.Errorf("%q: %s, want %s", text, have, want)
		}
	}
	if got, err := pick(all, nil, exists); err != nil || len(got) != len(all) {
		t.Errorf("without a pattern: %v, %v", got, err)
	}
}

func TestMayRepair(t *testing.T) {
	up := func(n string) topology.NodeState { return topology.NodeState{Name: n, Reachable: true} }
	fenced := up("n1")
	fenced.Fences = []topology.Fence{{Origin: "n3"}}
	gap := up("n3")
	gap.Gaps = []topology.GapMark{{Origin: "n9"}}
	for what, c := range map[string]struct {
		nodes []topology.NodeState
		among []string
		code  string
	}{
		"all live":                {[]topology.NodeState{up("n1"), up("n2"), up("n3")}, []string{"n1", "n2", "n3"}, ""},
		"a fenced node among":     {[]topology.NodeState{fenced, up("n2"), up("n3")}, []string{"n1", "n2", "n3"}, "node_fenced"},
		"the fence of another":    {[]topology.NodeState{fenced, up("n2"), {Name: "n3"}}, []string{"n1", "n2"}, ""},
		"a recovery among":        {[]topology.NodeState{up("n1"), up("n2"), gap}, []string{"n1", "n3"}, "recovery_running"},
		"a recovery of others":    {[]topology.NodeState{up("n1"), up("n2"), gap}, []string{"n1", "n2"}, "recovery_running"},
		"one of them unreachable": {[]topology.NodeState{up("n1"), {Name: "n2"}}, []string{"n1", "n2"}, "node_unreachable"},
	} {
		err := mayRepair(topology.Observation{Nodes: c.nodes}, c.among)
		var f *topology.Fault
		if (c.code == "") != (err == nil) || (err != nil && (!errors.As(err, &f) || f.Code != c.code)) {
			t.Errorf("%s: %v, want %q", what, err, c.code)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for want, c := range map[string]struct {
		p    compare.Progress
		took time.Duration
		bar  bool
	}{
		"[############............] 50%  500 rows, 100/s, 5s left, 3 differ  public.t": {compare.Progress{Table: "public.t", Rows: 500, Total: 1000, Differing: 3}, 5 * time.Second, true},
		" 0%  0 rows, 0/s":                            {compare.Progress{}, 0, false},
		"99%  2,000 rows, 1,000/s  a.b":               {compare.Progress{Table: "a.b", Rows: 2000, Total: 2000}, 2 * time.Second, false},
		"[........................]  0%  0 rows, 0/s": {compare.Progress{Total: 10}, time.Second, true},
	} {
		if got := progressLine(c.p, c.took, c.bar); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestWords has what must not be overlooked, and numbers as people read them.
func TestWords(t *testing.T) {
	d := document{Report: compare.Report{
		Nodes: []string{"n1", "n2"}, Result: compare.Differ, Differing: 1204, Unsettled: 1, Partial: true,
		Tables: []compare.Table{{Table: "public.t", Key: []string{"a", "b"}, Listed: 2, Unexplored: 1}, {Table: "x.y", Problem: "no"}},
	}, Error: "lost"}
	if got, want := d.Verdict(), "DIFFERENT in at least 1,204 rows"; got != want {
		t.Errorf("verdict %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{
		"BROKEN OFF: lost",
		"PARTIAL: 2 of 1,205 differences are listed; 1 differing block was not looked into: there may be more differences (--max-differences)",
		"UNSETTLED: 1 row was written faster than it could be compared; run it again",
		"NOT COMPARED: x.y: no",
	}, d.Loud()); diff != "" {
		t.Error(diff)
	}
	x := compare.Difference{Table: "public.t", Key: []string{"1", "<b>"}, State: "differs", Losers: []string{"n2"}, Versions: []compare.Version{
		{Node: "n1"}, {Node: "n2", Copies: 1, Digest: "d"},
	}}
	d.DryRun, d.Differences = true, []compare.Difference{x}
	if got := d.KeyText(x) + "|" + d.On(x, "n1") + "|" + d.On(x, "n2") + "|" + d.On(x, "n3") + "|" + d.Outcome(x); got != "a=1, b=<b>|missing|A|-|would write: delete on n2" {
		t.Error(got)
	}
	var page strings.Builder
	if err := d.html(&page); err != nil || strings.Contains(page.String(), "<b>") || !strings.Contains(page.String(), "&lt;b&gt;") {
		t.Errorf("a row's text is not escaped: %v", err)
	}
	for n, want := range map[int64]string{0: "0", -1000: "-1,000", 999: "999", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
