package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/config"
)

// checkDSN is a driver's parser as config sees it: an error that may quote the
// connection string, and one spelling for what names the same server.
func checkDSN(dsn string) (string, error) {
	if strings.Contains(dsn, "BAD") {
		return "", fmt.Errorf("no host in %s", dsn)
	}
	server, _, _ := strings.Cut(strings.TrimSpace(dsn), " password")
	return strings.Join(strings.Fields(server), ","), nil
}

// frame completes a file around what a test is about.
func frame(t *testing.T, kind, body string) string {
	t.Helper()
	switch kind {
	case "node": // the body is a node
		return "cluster: app\nnodes:\n  - " + strings.ReplaceAll(body, "\n", "\n    ") + "\n"
	case "more": // the body follows two good nodes
		return strings.Join([]string{
			"cluster: app", "nodes:",
			`  - {name: n1, dsn: a, gossip: "h:1", api: "h:2", nats: {client: "h:3", cluster: "h:4"}}`,
			`  - {name: n2, dsn: b, gossip: "h:5", api: "h:6", nats: {client: "h:7", cluster: "h:8"}}`,
			body,
		}, "\n")
	default:
		return body
	}
}

// TestErrors compares every text that an operator may get. Run with -rewrite
// to accept new ones.
func TestErrors(t *testing.T) {
	datadriven.Walk(t, "testdata/errors", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			kind := ""
			if len(d.CmdArgs) > 0 {
				kind = d.CmdArgs[0].Key
			}
			c, err := config.Parse("healer.yaml", []byte(frame(t, kind, d.Input)), checkDSN)
			if err == nil {
				return fmt.Sprintf("ok: %d nodes", len(c.Nodes))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: a password is shown", d.Pos)
			}
			var all *config.Error
			if !errors.As(err, &all) || len(all.Problems) == 0 {
				t.Errorf("%s: no *config.Error with problems: %v", d.Pos, err)
			}
			return err.Error()
		})
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got, err := config.Load("testdata/good.yaml", checkDSN)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Defaults()
	want.Cluster = "app"
	for i := 1; i <= 3; i++ {
		want.Nodes = append(want.Nodes, config.Node{
			Name:   fmt.Sprintf("n%d", i),
			DSN:    fmt.Sprintf("host=127.0.0.1 port=%d dbname=app user=healer", 5430+i),
			Gossip: fmt.Sprintf("127.0.0.1:%d", 7940+i),
			API:    fmt.Sprintf("127.0.0.1:%d", 8080+i),
			NATS:   config.NodeNATS{Client: fmt.Sprintf("127.0.0.1:%d", 4220+i), Cluster: fmt.Sprintf("127.0.0.1:%d", 6220+i)},
		})
	}
	want.Detection.ProbeInterval = 100 * time.Millisecond
	want.Detection.Quorum = config.QuorumHalf
	want.Slots.WarnBytes = 512 << 20
	want.Gossip.Keys = "/etc/healer/gossip.keys"
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"n1", "n2", "n3"}, got.Names()); d != "" {
		t.Error(d)
	}
	if n, ok := got.Node("n2"); !ok || n.API != "127.0.0.1:8082" {
		t.Errorf("node n2: %+v, %t", n, ok)
	}
	if _, ok := got.Node("n9"); ok {
		t.Error("there is no node n9")
	}
	if !got.EmbeddedNATS() {
		t.Error("no url is given: NATS is embedded")
	}
}

// The defaults must pass the checks that a file must pass.
func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	got, err := config.Parse("f", []byte(frame(t, "more", "")), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Defaults()
	want.Cluster, want.Nodes = got.Cluster, got.Nodes
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("a file without settings is not the defaults (-want +got):\n%s", d)
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent.yaml")
	_, err := config.Load(path, nil)
	want := path + ": cannot be read: no such file or directory\n      fix: name the cluster's file with --config"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// recognizable reports whether the file still says of each of its passwords
// that it is one, or that it is in a DSN. Who cuts both words off hides it.
func recognizable(src string) bool {
	for line := range strings.Lines(src) {
		if strings.Contains(line, "hunter2") && !strings.Contains(line, "password=") && !strings.Contains(line, " dsn:") {
			return false
		}
	}
	return true
}

// However a file is damaged: it is answered, nothing panics, every problem
// has a remedy and a place inside the file, and no password is shown.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(good), "user=healer", "user=healer password=hunter2")
	rapid.Check(t, func(t *rapid.T) {
		src := text
		for range rapid.IntRange(1, 4).Draw(t, "cuts") {
			at := rapid.IntRange(0, len(src)).Draw(t, "at")
			to := min(len(src), at+rapid.IntRange(0, 12).Draw(t, "length"))
			if strings.Contains(src[at:to], "p") && rapid.Bool().Draw(t, "again") {
				continue // spare some of the field names, to get deeper
			}
			src = src[:at] + rapid.StringOf(rapid.SampledFrom([]rune("\n\t :-[]{}\"'&*!|>#,xä0"))).Draw(t, "put") + src[to:]
		}
		c, err := config.Parse("f.yaml", []byte(src), checkDSN)
		if err == nil {
			if len(c.Nodes) < 2 {
				t.Fatalf("a file with %d nodes is good:\n%s", len(c.Nodes), src)
			}
			return
		}
		if strings.Contains(err.Error(), "hunter2") && recognizable(src) {
			t.Fatalf("a password is shown:\n%v", err)
		}
		var all *config.Error
		if !errors.As(err, &all) {
			t.Fatalf("got %T: %v", err, err)
		}
		for _, p := range all.Problems {
			if p.Remedy == "" || p.Message == "" || p.File != "f.yaml" || p.Line > strings.Count(src, "\n")+1 {
				t.Fatalf("a problem that helps nobody: %+v", p)
			}
		}
	})
}

// Clients speak TLS to the embedded servers where these do.
func TestNATSURLs(t *testing.T) {
	t.Parallel()
	c := config.Config{
		Nodes:     []config.Node{{Name: "n1", NATS: config.NodeNATS{Client: "h:1"}}, {Name: "n2", NATS: config.NodeNATS{Client: "h:2"}}},
		Witnesses: []config.Witness{{Name: "w1", NATS: config.NodeNATS{Client: "h:3"}}, {Name: "w2"}},
	}
	if got := strings.Join(c.NATSURLs("n2"), " "); got != "nats://h:1 nats://h:3" {
		t.Errorf("in the clear: %s", got)
	}
	c.NATS.TLS = config.NATSTLS{CAFile: "/ca", CertFile: "/cert", KeyFile: "/key"}
	if got := strings.Join(c.NATSURLs(), " "); got != "tls://h:1 tls://h:2 tls://h:3" {
		t.Errorf("over TLS: %s", got)
	}
}
