package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/detector/gossip"
	"healer/internal/apiclient"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/tlsfile/tlstest"
)

// page is where the output of one source is kept.
type page struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// vault is a cluster whose secrets are all known to the test, and all that was said.
type vault struct {
	t *testing.T
	// secrets are by what they are.
	secrets map[string]string
	dir     string
	said    map[string]*page
	called  map[string]bool
}

// secret makes one and puts it into a file of its own.
func (v *vault) secret(what, text string) (path string) {
	v.secrets[what] = text
	path = filepath.Join(v.dir, strings.ReplaceAll(what, " ", "-"))
	v.must(os.WriteFile(path, []byte(text+"\n"), 0o600))
	return path
}

func (v *vault) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// healer runs a command line as main does, and keeps what it says.
func (v *vault) healer(ctx context.Context, args ...string) int {
	out := &page{}
	v.said["healer "+strings.Join(args, " ")] = out
	v.called[strings.Join(args[:min(2, len(args))], "-")], v.called[args[0]] = true, true
	app := newApp()
	app.Stdin, app.Stdout, app.Stderr = strings.NewReader(""), out, out
	return app.Run(ctx, args)
}

// agent runs one until the test ends.
func (v *vault) agent(file, node string) {
	v.t.Helper()
	out := &page{}
	v.said["log of "+node+" with "+filepath.Base(file)] = out
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	app := newApp()
	app.Stdin, app.Stdout, app.Stderr = strings.NewReader(""), out, out
	dir := filepath.Join(v.dir, "data "+filepath.Base(file), node)
	go func() {
		done <- app.Run(ctx, []string{"agent", "--config", file, "--node", node, "--data-dir", dir, "--log-level", "debug"})
	}()
	v.t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			v.t.Errorf("agent of %s ended with %d:\n%s", node, code, out)
		}
	})
}

// look finds every secret in what was said, as it is and as it is written elsewhere.
func (v *vault) look() {
	v.t.Helper()
	forms := map[string]string{}
	for what, s := range v.secrets {
		forms[s], forms[url.QueryEscape(s)], forms[url.PathEscape(s)] = what, what, what
		forms[base64.StdEncoding.EncodeToString([]byte(s))] = what
	}
	for from, out := range v.said {
		text := out.String()
		for form, what := range forms {
			if at := strings.Index(text, form); at >= 0 {
				v.t.Errorf("%s shows %s: ...%s...", from, what, text[max(0, at-200):min(len(text), at+100)])
			}
		}
	}
}

// file writes a cluster's file.
func (v *vault) file(name, cluster, more string, dsn func(i int) string, addrs []string) string {
	v.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: %s\n%snodes:\n", cluster, more)
	for i := range 3 {
		a := addrs[4*i:]
		fmt.Fprintf(&b, "  - {name: n%d, dsn: %q, gossip: %q, api: %q, nats: {client: %q, cluster: %q}}\n", i+1, dsn(i), a[0], a[1], a[2], a[3])
	}
	path := filepath.Join(v.dir, name)
	v.must(os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

// TestSecretsAreNowhere runs agents and every command with secrets that are known, right
// and wrong ones, over a loss and its recovery, and finds none of them in anything that
// was said, shown or stored.
//
// It runs alone: the scripts are about how soon a shell gets its words.
func TestSecretsAreNowhere(t *testing.T) {
	v := &vault{t: t, secrets: map[string]string{}, dir: t.TempDir(), said: map[string]*page{}, called: map[string]bool{}}
	const words, inURL, inFile, wrong, repl = "kv s3cret 8431", "url/s3cret?5520", "passfile-s3cret-1977", "wr0ng-s3cret-77", "repl-s3cret-19"
	for what, s := range map[string]string{
		"the password in a dsn of words": words, "the password in a dsn's URL": inURL, "the password of a passfile": inFile,
		"a wrong password": wrong, "the password of a subscription": repl,
	} {
		v.secrets[what] = s
	}
	mesh := pgtest.Mesh(t, localpg.Options{Scram: true, Schema: []string{
		`CREATE TABLE account (id bigint PRIMARY KEY, note text); CREATE ROLE hx SUPERUSER LOGIN`,
	}})
	port := func(i int) string { return strings.Split(mesh.Nodes()[i].Addr(), ":")[1] }
	passfile := filepath.Join(v.dir, "pgpass")
	v.must(os.WriteFile(passfile, []byte("127.0.0.1:"+port(2)+":app:hx:"+inFile+"\n"), 0o600))
	for i, pw := range []string{words, inURL, inFile} {
		v.must(mesh.Exec(t.Context(), fmt.Sprintf("n%d", i+1), `ALTER ROLE hx PASSWORD '`+pw+`'`))
	}
	sub := localpg.SubscriptionName("n1", "n2")
	conn, err := localpg.Value[string](t.Context(), mesh.Node("n1"), `SELECT subconninfo FROM pg_subscription WHERE subname = $1`, sub)
	v.must(err)
	v.must(mesh.Exec(t.Context(), "n1", `ALTER SUBSCRIPTION `+sub+` CONNECTION '`+conn+` password=`+repl+`'`))

	authority := tlstest.New(t)
	cert, key := authority.Both()
	text, err := os.ReadFile(key)
	v.must(err)
	v.secrets["the key of a certificate"] = strings.Split(string(text), "\n")[1]
	hook := "https://127.0.0.1:1/hooks/path-s3cret-42"
	v.secrets["the URL of a web hook"] = "path-s3cret-42"
	more := fmt.Sprintf(`api: {token_file: %q, tls: {cert_file: %[2]q, key_file: %[3]q, ca_file: %[4]q, client_ca_file: %[4]q}}
gossip: {keys: %[5]q}
nats: {token_file: %[6]q, reader_token_file: %[7]q, tls: {ca_file: %[4]q, cert_file: %[2]q, key_file: %[3]q}}
hooks: [{on: "node.*", webhook: %[8]q, secret_file: %[9]q, timeout: 1s}]
`, v.secret("the API's token", "api-s3cret-5"), cert, key, authority.CA, v.secret("a gossip key", gossip.NewKey()),
		v.secret("the token of NATS", "nats-s3cret-6"), v.secret("the reader's token", "reader-s3cret-7"), hook, v.secret("the secret of a web hook", "whsec_"+base64.StdEncoding.EncodeToString([]byte("hook-s3cret-8-hook-s3cret-8"))))
	addrs := make([]string, 24)
	for i := range addrs {
		addrs[i] = pgtest.Addr(t)
	}
	good := v.file("good.yaml", "app", more, func(i int) string {
		return []string{
			"host=127.0.0.1 port=" + port(0) + " dbname=app user=hx password='" + words + "'",
			"postgres://hx:" + url.QueryEscape(inURL) + "@127.0.0.1:" + port(1) + "/app?sslmode=disable",
			"host=127.0.0.1 port=" + port(2) + " dbname=app user=hx passfile=" + passfile,
		}[i]
	}, addrs)
	bad := v.file("bad.yaml", "bad", "", func(i int) string {
		return []string{
			"host=127.0.0.1 port=" + port(0) + " dbname=app user=hx password=" + wrong,
			"postgres://hx:" + wrong + "@127.0.0.1:" + port(1) + "/app",
			"host=127.0.0.1 port=1 dbname=app user=hx password=" + wrong,
		}[i]
	}, addrs[12:])
	broken := filepath.Join(v.dir, "broken.yaml")
	goodText, err := os.ReadFile(good)
	v.must(err)
	v.must(os.WriteFile(broken, append(bytes.ReplaceAll(goodText, []byte("dsn: "), []byte("dns: ")), "api: {token_file: api-s3cret-5}\n"...), 0o600))

	for _, n := range mesh.Names() {
		v.agent(good, n)
	}
	v.agent(bad, "n1")
	eventually := func(what string, args ...string) {
		pgtest.Eventually(t, 3*time.Minute, what, func() error {
			if code := v.healer(t.Context(), args...); code != 0 {
				return fmt.Errorf("exit code %d: %s", code, v.said["healer "+strings.Join(args, " ")])
			}
			return nil
		})
	}
	eventually("the cluster is healthy", "status", "--config", good)
	v.must(mesh.Kill(t.Context(), "n3"))
	eventually("the loss is recovered from", "recovery", "show", "last", "--config", good, "-o", "html")
	v.every(good, "n3")
	v.every(bad, "n3")
	for _, f := range []string{good, bad, broken} {
		v.healer(t.Context(), "config", "check", "--config", f)
		v.healer(t.Context(), "config", "check", "--config", f, "-o", "json")
		v.healer(t.Context(), "status", "--config", f)
	}
	v.pages(authority.CA, addrs[1])
	v.stored()
	v.complete()
	v.look()
	// That nothing was found means something: all of it was there to be looked at.
	for from, want := range map[string]string{
		"log of n1 with good.yaml": "level=DEBUG", "log of n1 with bad.yaml": "password authentication failed",
		"healer doctor --config " + bad: "password authentication failed", "healer node list --config " + bad: "unreachable",
		"healer recovery show last --config " + good + " -o html": "<svg", "page /v1/status": `"n3"`, "page /metrics": "healer_build_info",
		"healer events tail --from all --follow=false -o json --timeout 1s --config " + good: "node.failed",
		"healer config check --config " + broken:                                             "the key \"dns\" is unknown",
	} {
		if out := v.said[from]; out == nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s says no %q: %v", from, want, out)
		}
	}
	journal := 0
	for from := range v.said {
		if strings.Contains(from, "/journal/") || strings.Contains(from, "jetstream") {
			journal++
		}
	}
	if journal < 6 {
		t.Errorf("only %d files of journals and streams were read", journal)
	}
}

// every runs each command that has to do with a cluster, for one node. What becomes of
// it is not this test's.
func (v *vault) every(file, node string) {
	ctx, cancel := context.WithTimeout(v.t.Context(), 3*time.Minute)
	defer cancel()
	for _, line := range []string{
		"status -o json", "health --node n1", "doctor", "doctor -o json", "grants", "watch", "verify", "verify -o json", "version",
		"events tail --from all --follow=false -o json --timeout 1s", "events tail --from all --follow=false --timeout 1s",
		"gossip keygen --help", "node list", "node list -o json", "node drop NODE --dry-run --force", "node rebuild NODE --from n1 --dry-run",
		"node maintenance NODE --for 1s --dry-run", "node maintenance NODE --for 1s --dry-run --token-file /etc/hostname",
		"pause --dry-run", "pause --dry-run -o json", "resume --dry-run", "recovery plan --failed NODE", "recovery plan --failed NODE -o json",
		"recovery run --failed NODE --dry-run", "recovery watermark --failed NODE", "recovery history", "recovery history -o json",
		"recovery show last", "recovery show last -o json", "recovery show last -o html", "recovery approve nonesuch", "recovery cancel nonesuch",
		"recovery ack nonesuch", "slots list", "slots list -o json", "slots clone --help", "slots advance --help", "slots drop --help",
		"uninstall --dry-run", "uninstall --dry-run --force -o json", "config check",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "NODE", node))
		if strings.Contains(line, "-o json") && strings.HasSuffix(file, "bad.yaml") {
			continue // what is wrong is told in the same words
		}
		switch {
		case args[len(args)-1] == "--help", args[0] == "version":
		default:
			args = append(args, "--config", file)
		}
		limited, end := ctx, context.CancelFunc(func() {})
		if args[0] == "events" { // a stream without a leader is waited for
			limited, end = context.WithTimeout(ctx, 4*time.Second)
		}
		v.healer(limited, args...)
		end()
	}
	v.healer(ctx, "init", "--dsn", "host=127.0.0.1 port=1 user=hx dbname=app password=wr0ng-s3cret-77", "--dry-run")
}

// pages are what an agent serves to everybody.
func (v *vault) pages(ca, addr string) {
	client, err := apiclient.Secure(apiclient.Files{CA: ca})
	v.must(err)
	for _, path := range []string{"/", "/metrics", "/v1/status", "/v1/recoveries", "/v1/plan", "/v1/plan?failed=n2", "/readyz?verbose", "/v1/control", "/openapi.yaml"} {
		res, err := client.Get("http://" + addr + path)
		v.must(err)
		out := &page{}
		v.said["page "+path] = out
		_, err = io.Copy(out, res.Body)
		v.must(err)
		v.must(res.Body.Close())
	}
}

// stored is what the agents have written, down to the stores of NATS.
func (v *vault) stored() {
	for _, dir := range []string{"data good.yaml", "data bad.yaml"} {
		v.must(filepath.WalkDir(filepath.Join(v.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) { // what is only there for a moment
				return nil
			}
			info, err := d.Info()
			if err != nil || d.IsDir() {
				if err == nil && strings.HasPrefix(d.Name(), "n") && info.Mode().Perm() != 0o700 {
					v.t.Errorf("%s has the mode %s", path, info.Mode().Perm())
				}
				return nil
			}
			if text, err := os.ReadFile(path); err == nil { // it may be gone by now
				v.said["file "+path] = &page{b: *bytes.NewBuffer(text)}
			}
			return nil
		}))
	}
}

// complete finds commands that this test forgets.
func (v *vault) complete() {
	dir := v.t.TempDir()
	if code := v.healer(v.t.Context(), "man", "--dir", dir); code != 0 {
		v.t.Fatal("no manual pages")
	}
	pages, err := filepath.Glob(filepath.Join(dir, "healer-*.1"))
	v.must(err)
	for _, path := range pages {
		name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(path), ".1"), "healer-")
		switch first, _, _ := strings.Cut(name, "-"); first {
		case "agent", "completion", "chaos", "demo": // runs above; says no more than scripts; have clusters of their own
			continue
		}
		if !v.called[name] {
			v.t.Errorf("healer %s is not looked at: add it to what this test runs", strings.ReplaceAll(name, "-", " "))
		}
	}
}
