package discover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/config"
	"healer/topology"
)

// world is a set of servers that are not real, by host:port.
type world map[string]server

func (w world) read(_ context.Context, dsn params) (server, error) {
	s, ok := w[dsn.get("host")+":"+port(dsn)]
	if !ok {
		return server{}, &topology.Fault{Code: "unreachable", Err: errors.New("connection refused")}
	}
	return s, s.fit()
}

// mesh makes hosts read from one another.
func meshOf(hosts ...string) world {
	w := world{}
	for i, to := range hosts {
		s := server{
			identity: identity{SystemID: fmt.Sprint(100 + i), StartedAt: "1", Database: "app"},
			Role:     "healer", Version: 180004, Readable: true, ClusterName: "18/main",
		}
		for _, from := range hosts {
			if to == from {
				continue
			}
			s.Subscriptions = append(s.Subscriptions, subscription{
				Name: "on_" + to + "_of_" + from, Slot: "on_" + to + "_of_" + from, Enabled: true, Origin: "none",
				ConnInfo: "host=" + from + " dbname=app user=repl password=s3cret",
			})
			s.Slots = append(s.Slots, slot{Name: "on_" + from + "_of_" + to, Plugin: "pgoutput"})
		}
		w[to+":5432"] = s
	}
	return w
}

// change edits one of the servers.
func (w world) change(host string, edit func(*server)) world {
	s := w[host+":5432"]
	edit(&s)
	w[host+":5432"] = s
	return w
}

func from(sub *server, name, conninfo string) {
	sub.Subscriptions = append(sub.Subscriptions, subscription{Name: name, Slot: name, Enabled: true, Origin: "none", ConnInfo: conninfo})
}

func discover(t *testing.T, w world, dsn string, ignored ...string) (plan, error) {
	t.Helper()
	given, err := parseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	walk := walk{given: given, ignored: ignored, reader: w.read}
	m, err := walk.find(t.Context())
	if err != nil {
		return plan{}, err
	}
	p := planOf("app", m, ports{7941, 8081, 4222, 6222}, nil)
	text := p.text()
	if strings.Contains(text, "s3cret") {
		t.Errorf("the password is in the file:\n%s", text)
	}
	if _, err := config.Parse("healer.yaml", []byte(text), func(s string) (string, error) {
		d, err := parseDSN(s)
		return address(d), err
	}); err != nil {
		t.Errorf("the file cannot be used: %v\n%s", err, text)
	}
	return p, nil
}

// TestWalk begins at each node of one mesh: the file is the same but for its order.
func TestWalk(t *testing.T) {
	for _, start := range []string{"a", "b", "c"} {
		p, err := discover(t, meshOf("a", "b", "c"), "host="+start+" dbname=app user=healer password=s3cret passfile=/p")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range p.Nodes {
			got = append(got, strings.Join([]string{n.Name, n.DSN, n.Gossip, n.API, n.Client, n.Route, strings.Join(n.Reads, "+")}, " "))
		}
		want := []string{
			"a host=a dbname=app user=healer passfile=/p a:7941 a:8081 a:4222 a:6222 b+c",
			"b host=b dbname=app user=healer passfile=/p b:7941 b:8081 b:4222 b:6222 a+c",
			"c host=c dbname=app user=healer passfile=/p c:7941 c:8081 c:4222 c:6222 a+b",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %s:\n%s", start, diff)
		}
	}
}

// TestNotes has meshes with something that has to be told.
func TestNotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		world world
		want  string
		nodes int
	}{
		{"a source that reads from nobody", func() world {
			w := meshOf("a", "b", "up")
			w.change("up", func(s *server) { s.Subscriptions = nil })
			return w
		}(), "up:5432/app feeds the mesh and does not read from it", 2},
		{"every origin", meshOf("a", "b").change("a", func(s *server) {
			from(s, "all", "host=x dbname=app")
			s.Subscriptions[1].Origin = "any"
		}), `subscription all on a:5432/app takes changes of every origin`, 2},
		{"a reader outside", meshOf("a", "b").change("b", func(s *server) {
			s.Slots = append(s.Slots, slot{Name: "warehouse", Application: "dw", Client: "10.0.0.9"}, slot{Name: "spock_app_recovery_b_a"})
		}), "slot warehouse on b:5432/app feeds no node of the file, but dw at 10.0.0.9", 2},
		{"a link that is missing", meshOf("a", "b", "c").change("c", func(s *server) { s.Subscriptions = s.Subscriptions[1:] }), "c:5432/app has no subscription to a:5432/app", 3},
		{"a disabled one", meshOf("a", "b").change("b", func(s *server) { s.Subscriptions[0].Enabled = false }), "subscription on_b_of_a on b:5432/app is disabled", 2},
		{"another address", func() world {
			w := meshOf("a", "b", "c")
			w["bouncer:6432"] = w["a:5432"]
			return w.change("c", func(s *server) { s.Subscriptions[0].ConnInfo = "host=bouncer port=6432 dbname=app" })
		}(), "subscriptions reach a at bouncer:6432/app, the file at a:5432/app", 3},
		{"a copy of a server", meshOf("a", "b").change("b", func(s *server) { s.SystemID, s.StartedAt = "100", "2" }), "a and b have the same system identifier", 2},
		{"two nodes", meshOf("a", "b"), "two nodes need a witness", 2},
		{"a password", meshOf("a", "b"), "no password is in this file", 2},
	} {
		p, err := discover(t, c.world, "host=a user=healer password=s3cret")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(p.Nodes) != c.nodes || !strings.Contains(strings.Join(p.Notes, "\n"), c.want) || !strings.Contains(p.text(), c.want) {
			t.Errorf("%s: %d nodes, notes:\n%s\nwant %d and %q", c.name, len(p.Nodes), strings.Join(p.Notes, "\n"), c.nodes, c.want)
		}
	}
	quiet, err := discover(t, meshOf("a", "b", "c"), "host=a user=healer")
	if err != nil || len(quiet.Notes) != 2 {
		t.Errorf("a mesh as it should be: %v %q", err, quiet.Notes)
	}
}

// TestRefused has what ends in an error, with its remedy.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name       string
		world      world
		ignore     []string
		want, hint string
	}{
		{"nobody there", world{}, nil, "connection refused", ""},
		{
			"a peer is away", func() world { w := meshOf("a", "b", "c"); delete(w, "c:5432"); return w }(), nil,
			"c:5432/app, from which subscription on_a_of_c on a:5432/app reads, cannot be read: connection refused", "--ignore on_a_of_c",
		},
		{
			"not allowed", meshOf("a", "b").change("b", func(s *server) { s.Readable = false }), nil,
			"role healer may not read pg_subscription.subconninfo", `GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO "healer";`,
		},
		{"a standby", meshOf("a", "b").change("a", func(s *server) { s.InRecovery = true }), nil, "it is a standby", "name its primary"},
		{"old", meshOf("a", "b").change("a", func(s *server) { s.Version = 150003 }), nil, "it runs PostgreSQL 15.3", "16 or later"},
		{"alone", meshOf("a"), nil, "no other server read from each other", "every node subscribes"},
		{"every origin", meshOf("a", "b").change("a", func(s *server) { s.Subscriptions[0].Origin = "any" }), nil, "SET (origin = none)", "origin = none"},
		{"bdr", meshOf("a").change("a", func(s *server) { s.Engines = []string{"bdr"} }), nil, "the extension bdr", "and of Spock"},
		{"pglogical as a stranger", meshOf("a", "b").change("a", func(s *server) { s.Engines = []string{"pglogical"} }), nil, "is no superuser", "SUPERUSER"},
		{"Spock as a stranger", meshOf("a", "b").change("a", func(s *server) { s.Engines = []string{"spock"} }), nil, "administers spock has to be", "SUPERUSER"},
		{"old pglogical", meshOf("a", "b").change("a", func(s *server) { s.Engines, s.Version = []string{"pglogical"}, 140001 }), nil, "it runs PostgreSQL 14.1", "15 or later"},
		{"nothing is left", meshOf("a", "b"), []string{"on_a_of_b"}, "was not followed", "every node subscribes"},
		{"strange", meshOf("a", "b").change("a", func(s *server) { s.Subscriptions[0].ConnInfo = "nonsense" }), nil, "on_a_of_b on a:5432/app: its connection string", ""},
	} {
		_, err := discover(t, c.world, "host=a user=healer", c.ignore...)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		var f *topology.Fault
		hint := ""
		if errors.As(err, &f) {
			hint = f.Hint
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: %v (%s)", c.name, err, hint)
		}
	}
}

// TestIgnored leaves out what would end in an error.
func TestIgnored(t *testing.T) {
	w := meshOf("a", "b").change("a", func(s *server) { from(s, "gone", "host=gone dbname=app") })
	p, err := discover(t, w, "host=a user=healer", "gone")
	if err != nil || len(p.Nodes) != 2 || !strings.Contains(strings.Join(p.Notes, "\n"), "subscription gone on a:5432/app was not followed") {
		t.Errorf("%v: %+v", err, p)
	}
}
