package scenario

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/chaos/fault"
)

// TestLibrary loads every scenario of the library.
func TestLibrary(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		s, err := Load(f)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := strings.TrimSuffix(filepath.Base(f), ".yaml"); s.Name != want || s.About == "" {
			t.Errorf("%s: its name is %q, and it is about %q", f, s.Name, s.About)
		}
	}
}

// TestDraw: a seed always gives the same scenario, which is sound and survives a file.
func TestDraw(t *testing.T) {
	d := Drawing{MinNodes: 3, MaxNodes: 5, Majors: []int{16, 18}}
	kinds := map[fault.Kind]bool{}
	for seed := range uint64(3000) {
		s := d.Draw(seed)
		src, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(src)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, src)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Fatalf("seed %d was read as another:\n%s", seed, diff)
		}
		if diff := cmp.Diff(s, d.Draw(seed)); diff != "" {
			t.Fatalf("seed %d was drawn twice:\n%s", seed, diff)
		}
		for _, e := range s.Schedule {
			kinds[e.Kind] = true
		}
	}
	for _, k := range fault.Kinds() {
		if !kinds[k.Kind] && k.Kind != fault.BackupRestore && k.Kind != fault.Command {
			t.Errorf("%s is never drawn", k.Kind)
		}
	}
}

// TestMajors: versions of each node are never the same for all, come from the seed, and
// leave what else is drawn as it was.
func TestMajors(t *testing.T) {
	some := Drawing{MinNodes: 3, MaxNodes: 5, Majors: []int{16, 18, Mixed}}
	single := Drawing{MinNodes: 3, MaxNodes: 5, Majors: []int{17}}
	all := Drawing{MinNodes: 3, MaxNodes: 5, Majors: []int{17, Mixed}}
	seen := map[int]bool{}
	var drawnMixed int
	for seed := range uint64(300) {
		s := some.Draw(seed)
		if len(s.PG) > 1 {
			drawnMixed++
			if len(s.PG) != s.Nodes || slices.Contains(s.PG, 17) || slices.Min(s.PG) == slices.Max(s.PG) {
				t.Fatalf("seed %d: %d nodes of %v", seed, s.Nodes, s.PG)
			}
		}
		src, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(src); err != nil || !slices.Equal(back.PG, s.PG) {
			t.Fatalf("seed %d was read with %v (%v):\n%s", seed, back.PG, err, src)
		}
		a, b := all.Draw(seed), single.Draw(seed)
		for _, m := range a.PG {
			seen[m] = true
		}
		if a.PG, b.PG = nil, nil; !cmp.Equal(a, b) {
			t.Fatalf("seed %d: its versions changed what else is drawn:\n%s", seed, cmp.Diff(a, b))
		}
	}
	if drawnMixed < 50 || len(seen) != 3 {
		t.Errorf("%d of 300 are mixed, of the versions %v", drawnMixed, seen)
	}
	const file = "name: x\nseed: 5\nnodes: 4\nschedule:\n  - {at: 1s, fault: server_kill, node: n1}\npg: "
	for text, want := range map[string]Majors{"16": {16}, "[16]": {16}, "0": nil, "[18, 16, 17, 18]": {18, 16, 17, 18}, "mixed": mix(5, 4, supported())} {
		if s, err := Parse([]byte(file + text + "\n")); err != nil || !slices.Equal(s.PG, want) {
			t.Errorf("pg: %s is %v, %v: want %v", text, s.PG, err, want)
		}
	}
}

// TestAble: what a machine cannot do is not drawn.
func TestAble(t *testing.T) {
	d := Drawing{MinNodes: 3, MaxNodes: 3, Majors: []int{18}, Able: func(f fault.Fault) error {
		if f.Kind == fault.LinkCut {
			return fault.ErrUnable
		}
		return nil
	}}
	for seed := range uint64(300) {
		if slices.Contains(d.Draw(seed).Faults(), string(fault.LinkCut)) {
			t.Fatalf("seed %d has what cannot be made", seed)
		}
	}
}

func TestMistakes(t *testing.T) {
	base := "name: x\nschedule:\n  - {at: 1s, fault: server_kill, node: n1}\n"
	for _, c := range []struct{ src, want string }{
		{"name: x\nfoo: 1\nschedule: []\n", `line 2: foo: unknown field "foo": use one of about,`},
		{base + "length: soon\n", `line 4: length: "soon": use a length such as 500ms`},
		{base + "nodes: many\n", `line 4: nodes: "many": use a whole number`},
		{base + "schedule: no\n", `mapping key "schedule" already defined`},
		{"- x\n", "it must have fields"},
		{"{", "this is no YAML"},
		{strings.Replace(base, "server_kill", "server_kil", 1), `schedule[0].fault "server_kil": there is no such kind: use one of`},
		{strings.Replace(base, "n1", "n9", 1), `schedule[0].node "n9": use one of n1, n2, n3`},
		{strings.Replace(base, ", node: n1", "", 1), `schedule[0].node is missing: server_kill needs it`},
		{strings.Replace(base, "n1}", "n1, offset: 1h}", 1), `schedule[0].offset "1h0m0s": server_kill does not take it: leave it out`},
		{strings.Replace(base, "at: 1s", "at: -1s", 1), "schedule[0].at -1s: use 0s to 24h"},
		{strings.Replace(base, "n1}", `"@source"}`, 1), `schedule[0].node "@source": the roles are`},
		{base + "nodes: 9\n", "nodes 9: use 3 to 5"},
		{base + "pg: 15\n", "pg 15: use 16, 17 or 18"},
		{base + "pg: mix\n", `line 4: pg: "mix": use 16, 17 or 18, a list with one for each node, or mixed`},
		{base + "pg: [16, mixed, 18]\n", `line 4: pg: "mixed": use 16`},
		{base + "pg: [16, 19, 18]\n", "pg 19: use 16, 17 or 18, a list with one for each node, or mixed"},
		{base + "pg: [16, 18]\n", "pg has 2 versions: give one for all nodes, or one for each of the 3"},
		{base + "pg: [0, 16, 18]\n", "pg 0: use 16"},
		{base + "expect: {events: [node.died]}\n", `expect.events "node.died": use a kind of events`},
		{base + "workload: {rates: {change: 90, large: 20}}\n", "add up to 110"},
		{strings.Replace(base, "name: x", "name: X Y", 1), `name "X Y": use at most 63 of`},
		{"name: x\nschedule: []\n", "schedule is empty: give at least one fault"},
		{"name: x\nschedule:\n  - {after: step dance, fault: agent_kill, node: \"@actor\"}\n", `schedule[0].after "step dance": the steps are fence`},
	} {
		if _, err := Parse([]byte(c.src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: the error is %v, want %q", c.src, err, c.want)
		}
	}
	staging := []struct{ src, want string }{
		{base, `schedule[0].fault "server_kill": it needs a local process`},
		{"name: x\nschedule:\n  - {fault: link_cut, node: n1, link: replication}\n", `schedule[0].node "n1": name one of the proxies`},
		{
			"name: x\nproxies: [{name: d, listen: a, upstream: b}]\nschedule:\n  - {fault: link_cut, node: d, link: sql}\n  - {fault: link_reset, node: d, link: replication}\n",
			`schedule[1].link "replication": the proxy d is for sql already: add another proxy`,
		},
		{"name: x\nproxies: [{name: n1, listen: a, upstream: b}]\nschedule: [{fault: backends_terminate, node: n1}]\n", `proxies[0].name "n1"`},
	}
	for _, c := range staging {
		if _, err := ParseFor([]byte(c.src), []string{"n1", "n2"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: the error is %v, want %q", c.src, err, c.want)
		}
	}
}

// TestReduce finds the two faults that fail together among many.
func TestReduce(t *testing.T) {
	s := &Scenario{Name: "x"}
	for i := range 9 {
		s.Schedule = append(s.Schedule, Event{At: time.Duration(i) * time.Second})
	}
	has := func(c *Scenario, at time.Duration) bool {
		return slices.ContainsFunc(c.Schedule, func(e Event) bool { return e.At == at })
	}
	tried := 0
	got := Reduce(t.Context(), s, 100, func(_ context.Context, c *Scenario) bool {
		tried++
		return has(c, 2*time.Second) && has(c, 7*time.Second)
	})
	if len(got.Schedule) != 2 || len(s.Schedule) != 9 {
		t.Errorf("%d faults are left of %d after %d trials", len(got.Schedule), len(s.Schedule), tried)
	}
	if got := Reduce(t.Context(), s, 2, func(context.Context, *Scenario) bool { return false }); len(got.Schedule) != 9 {
		t.Error("it was reduced to what does not fail")
	}
}

// TestTable: the table of faults in the documentation is that of the code.
func TestTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/chaos.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), fault.Table()) {
		t.Errorf("docs/chaos.md has not this table:\n%s", fault.Table())
	}
}
