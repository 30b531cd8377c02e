package engine

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/postgres"
	"healer/topology"
)

// plain is a dialect of which only the name and the age count.
type plain struct {
	Dialect
	extension string
}

func (p plain) Extension() string                            { return p.extension }
func (plain) Oldest() (int, string)                          { return 160000, "it needs" }
func (plain) Findings(Subscription, bool) []topology.Finding { return nil }

func TestParseHistory(t *testing.T) {
	got, err := parseHistory("1\t0/3000148\tno recovery target specified\n\n# note\n2\t1/A0000000\tbefore 2024\n")
	want := []topology.Fork{{Timeline: 1, SwitchLSN: 0x3000148}, {Timeline: 2, SwitchLSN: 0x1A0000000}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"1", "x\t0/1\ty", "1\t01\ty"} {
		if _, err := parseHistory(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestMergeIsAUnion(t *testing.T) {
	a := topology.TableName{Schema: "s", Name: "a"}
	p := published{
		{TableName: a, Publication: "x", Filter: "k > 1", Insert: true},
		{TableName: a, Publication: "y", Filter: "k < 0", Delete: true},
	}
	got, ok := merge(p, a)
	want := shape{TableName: a, Publication: "x", Filter: "(k > 1) OR (k < 0)", Insert: true, Delete: true}
	if !ok || !cmp.Equal(got, want) {
		t.Errorf("%+v %v", got, ok)
	}
	p = append(p, shape{TableName: a, Publication: "z", Update: true})
	if got, _ := merge(p, a); got.Filter != "" || !got.Update {
		t.Errorf("%+v", got)
	}
	if _, ok := merge(p, topology.TableName{Schema: "s", Name: "b"}); ok {
		t.Error("a table nobody publishes")
	}
}

func TestTablesNotCopiedAreReported(t *testing.T) {
	c := catalog{Subscriptions: []Subscription{{Name: "s", Owned: true, Forwards: "none", Unready: 2}}}
	n := topology.NodeState{Subscriptions: []topology.Subscription{{Name: "s", Provider: "n2"}}}
	got := subscriptionFindings(plain{}, c, n)
	if len(got) != 1 || got[0].Code != "table_copy" || got[0].Blocking {
		t.Errorf("%+v", got)
	}
}

func TestOldServerBlocks(t *testing.T) {
	f := tongue{Dialect: plain{}}.unfit(base{Version: 150013})
	if f == nil || !f.Blocking || f.Code != "version" || !strings.Contains(f.Detail, "PostgreSQL 15") {
		t.Errorf("%+v", f)
	}
	f = tongue{Dialect: plain{extension: "x"}}.unfit(base{Version: 160000, Super: true})
	if f == nil || !f.Blocking || f.Code != "engine_missing" {
		t.Errorf("%+v", f)
	}
	if f := (tongue{Dialect: plain{extension: "x"}}).unfit(base{Version: 160000, Super: true, Extensions: []string{"x"}}); f != nil {
		t.Errorf("%+v", f)
	}
}

// Subscriptions of PostgreSQL's own count before an extension that is there too.
func TestTheCatalogsTellTheEngine(t *testing.T) {
	own, x := plain{}, plain{extension: "x"}
	for name, tc := range map[string]struct {
		of   []Dialect
		b    base
		want Dialect
	}{
		"named in the file":        {[]Dialect{x}, base{Subscribes: true}, x},
		"by its extension":         {[]Dialect{own, x}, base{Extensions: []string{"plpgsql", "x"}}, x},
		"by its subscriptions":     {[]Dialect{own, x}, base{Extensions: []string{"x"}, Subscribes: true}, own},
		"with nothing to tell yet": {[]Dialect{own, x}, base{Extensions: []string{"plpgsql"}}, own},
	} {
		if got := (&Engine{dialects: tc.of}).choose(tc.b); got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestProviderOfADSN(t *testing.T) {
	servers := map[string]*postgres.Server{}
	for name, dsn := range map[string]string{"n1": "host=h port=1 dbname=app", "n2": "host=h port=2 dbname=app"} {
		s, err := postgres.Open(name, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[name] = s
	}
	p := newProviders(servers, nil, slog.New(slog.DiscardHandler))
	t.Cleanup(p.close)
	// Without having asked anybody.
	sub := Subscription{Name: "s", ID: 1, ConnInfo: "host=h port=2 dbname=app user=x"}
	if got := p.of("n1", sub); got != "n2" {
		t.Errorf("provider %q", got)
	}
	// The same host and port, seen from the other node, are not that node.
	if got := p.of("n2", sub); got != "" {
		t.Errorf("a node does not read from itself: %q", got)
	}
}
