package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"healer/api"
	"healer/config"
	"healer/events"
	"healer/events/eventstest"
	"healer/events/natsbus"
	"healer/internal/apiclient"
	"healer/internal/app"
	"healer/internal/broker"
	"healer/internal/tlsfile/tlstest"
)

// fortress is three agents whose doors are all shut. No server is needed for that.
type fortress struct {
	t         *testing.T
	cfg       config.Config
	authority *tlstest.Authority
	dirs      []string
	looker    *http.Client
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{t: t, cfg: config.Defaults(), authority: tlstest.New(t)}
	operators := tlstest.New(t)
	f.cfg.Cluster, f.cfg.Gossip.Keys = "test", keyFile(t)
	cert, key := f.authority.Both()
	opCert, opKey := operators.Client()
	f.cfg.API = config.API{TokenFile: secretFile(t, apiToken), TLS: config.APITLS{
		CertFile: cert, KeyFile: key, CAFile: f.authority.CA, ClientCAFile: operators.CA, ClientCertFile: opCert, ClientKeyFile: opKey,
	}}
	f.cfg.NATS = config.NATS{
		TokenFile: secretFile(t, "agents only"), ReaderTokenFile: secretFile(t, "readers too"),
		TLS: config.NATSTLS{CAFile: f.authority.CA, CertFile: cert, KeyFile: key},
	}
	for i := range 3 {
		f.cfg.Nodes = append(f.cfg.Nodes, lonely(t, fmt.Sprintf("n%d", i+1)))
		f.dirs = append(f.dirs, t.TempDir())
	}
	var err error
	if f.looker, err = apiclient.Secure(apiclient.Files{CA: f.authority.CA}); err != nil {
		t.Fatal(err)
	}
	for i, n := range f.cfg.Nodes {
		f.run(f.cfg, n.Name, f.dirs[i])
	}
	return f
}

// run runs an agent to the test's end.
func (f *fortress) run(cfg config.Config, node, dir string) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Options{Config: &cfg, Node: node, DataDir: dir, Log: slog.New(slog.DiscardHandler)})
	}()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("agent of %s: %v", node, err)
		}
	})
}

func (f *fortress) eventually(what string, so func() error) {
	f.t.Helper()
	var err error
	for begin := time.Now(); time.Since(begin) < waitLimit; {
		if err = so(); err == nil {
			return
		}
		select {
		case <-f.t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	f.t.Fatalf("not within %s: %s: %v", waitLimit, what, err)
}

// ask is what an agent answers.
func (f *fortress) ask(node int, path string) (string, error) {
	res, err := f.looker.Get("http://" + f.cfg.Nodes[node].API + path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return string(b), errors.Join(err, res.Body.Close())
}

func (f *fortress) status(node int) (s api.Status, err error) {
	text, err := f.ask(node, "/v1/status")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// counted waits until an agent has counted at a door so many at least.
func (f *fortress) counted(node int, door, reason string, least float64) {
	f.t.Helper()
	line := fmt.Sprintf(`healer_refused_requests_total{door="%s",reason="%s"} `, door, reason)
	f.eventually(line, func() error {
		var n float64
		page, _ := f.ask(node, "/metrics")
		_, rest, _ := strings.Cut(page, "\n"+line)
		if _, err := fmt.Sscan(rest, &n); err != nil || n < least {
			return fmt.Errorf("it is %v, want %v (%w)", n, least, err)
		}
		return nil
	})
}

// held is what nobody without a key may change: who belongs to the cluster, what
// operators have said, and the stored events but those that the agents add.
func (f *fortress) held() map[string]any {
	f.t.Helper()
	out := map[string]any{}
	for i, n := range f.cfg.Nodes {
		s, err := f.status(i)
		if err != nil {
			f.t.Fatal(err)
		}
		out[n.Name+" control"], out[n.Name+" second"] = s.Control, s.Gossip.SecondAgent
		for _, other := range s.Nodes {
			out[n.Name+" sees "+other.Name] = other.AgentAlive
		}
		info, err := os.Stat(f.dirs[i])
		if err != nil {
			f.t.Fatal(err)
		}
		out[n.Name+" directory"] = info.Mode().Perm().String()
	}
	return out
}

// TestEveryDoor tries each way into agents without its key: refused, counted, and
// nothing has changed.
func TestEveryDoor(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.eventually("the agents are a cluster, over TLS throughout", func() error {
		for i := range f.cfg.Nodes {
			s, err := f.status(i)
			if err != nil {
				return err
			}
			if len(s.Nodes) != 3 || !s.Nodes[0].AgentAlive || !s.Nodes[1].AgentAlive || !s.Nodes[2].AgentAlive || !s.NATS.StreamReady || len(s.Certificates) != 2 {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	before := f.held()
	if before["n1 directory"] != "-rwx------" {
		t.Errorf("others may look into the data directory: %v", before["n1 directory"])
	}
	slow, err := net.Dial("tcp", f.cfg.Nodes[0].API)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte{0x16, 0x03}); err != nil { // a hello that is never finished
		t.Fatal(err)
	}

	f.strangers()
	f.readers()
	f.requests()
	if _, err := io.ReadAll(slow); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the unfinished hello: %v", err)
	}
	f.counted(0, "api", "tls_handshake", 1)
	if d := cmp.Diff(before, f.held()); d != "" {
		t.Errorf("something has changed (-before +after):\n%s", d)
	}
}

// strangers is an agent with keys and tokens of its own, under a name of the cluster.
func (f *fortress) strangers() {
	other := f.cfg
	other.Nodes = append([]config.Node{lonely(f.t, "n1")}, f.cfg.Nodes[1:]...)
	other.Gossip.Keys, other.NATS.TokenFile = keyFile(f.t), secretFile(f.t, "guess")
	f.run(other, "n1", filepath.Join(f.t.TempDir(), "made"))
	for _, node := range []int{1, 2} {
		f.counted(node, "gossip", "wrong_key", 1)
		f.counted(node, "nats", "login", 1)
	}
	// A clear packet, and one of nonsense.
	for _, text := range []string{"hello", strings.Repeat("\x00", 1200)} {
		c, err := net.Dial("udp", f.cfg.Nodes[0].Gossip)
		if err != nil {
			f.t.Fatal(err)
		}
		_, err = io.WriteString(c, text)
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
		if err != nil {
			f.t.Error(err)
		}
	}
	f.eventually("nonsense is counted", func() error {
		page, err := f.ask(0, "/metrics")
		for _, reason := range []string{"malformed", "not_encrypted", "other_cluster"} {
			if strings.Contains(page, `healer_refused_requests_total{door="gossip",reason="`+reason+`"}`) {
				return nil
			}
		}
		return fmt.Errorf("it is not: %w", err)
	})
}

// readers try to write: with a reader's token, with none, and in the clear.
func (f *fortress) readers() {
	forged := eventstest.Make(f.t, "test", events.ControlPaused, "forged")
	raw, err := forged.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	as := f.cfg
	as.NATS.TokenFile = f.cfg.NATS.ReaderTokenFile
	as.Nodes = as.Nodes[:1]
	dial := broker.Dial(&as, "reader")
	reader, err := natsbus.Dial(f.t.Context(), dial)
	if err != nil {
		f.t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.AwaitConnection(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	var nc *nats.Conn
	f.eventually("a reader is let in", func() (err error) {
		nc, err = nats.Connect(dial.URLs[0], nats.RootCAs(f.authority.CA), nats.Token("readers too"), nats.Timeout(waitLimit))
		return err
	})
	defer nc.Close()
	if err := nc.Publish(events.Subject("test", events.ControlPaused), raw); err != nil {
		f.t.Fatal(err)
	}
	f.counted(0, "nats", "permission", 1)
	for name, opts := range map[string][]nats.Option{
		"no token":     {nats.RootCAs(f.authority.CA)},
		"in the clear": nil,
	} {
		if c, err := nats.Connect("nats://"+f.cfg.Nodes[0].NATS.Client, opts...); err == nil {
			c.Close()
			f.t.Errorf("%s: let in", name)
		}
	}
	f.counted(0, "nats", "login", 1)
	f.counted(0, "nats", "tls", 1)
	err = reader.Past(f.t.Context(), events.Filter{From: events.FromStart()}, func(e events.Event) error {
		if e.ID == forged.ID {
			return fmt.Errorf("a reader's event is stored")
		}
		return nil
	})
	if err != nil {
		f.t.Error(err)
	}
}

// requests ask the API for what is not theirs.
func (f *fortress) requests() {
	for name, c := range map[string]struct {
		method, path, token, body string
		code                      int
		reason                    string
	}{
		"no token":     {http.MethodPost, "/v1/control/pause", "", "{}", 401, "token_wrong"},
		"wrong token":  {http.MethodPost, "/v1/control/pause", "guess", "{}", 401, "token_wrong"},
		"oversize":     {http.MethodPost, "/v1/control/pause", apiToken, `{"reason": "` + strings.Repeat("x", 64<<10) + `"}`, 413, "body_too_large"},
		"out of it":    {http.MethodGet, "/console/..%2f..%2f..%2fetc%2fpasswd", "", "", 404, "not_found"},
		"nowhere":      {http.MethodGet, "/etc/passwd", "", "", 404, "not_found"},
		"a method":     {http.MethodDelete, "/v1/status", "", "", 405, "method"},
		"unknown verb": {http.MethodPost, "/v1/control/drop", apiToken, "{}", 404, "not_found"},
	} {
		req, err := http.NewRequestWithContext(f.t.Context(), c.method, "http://"+f.cfg.Nodes[0].API+c.path, strings.NewReader(c.body))
		if err != nil {
			f.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := f.looker.Do(req)
		if err != nil {
			f.t.Errorf("%s: %v", name, err)
			continue
		}
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.Body.Close() != nil || res.StatusCode != c.code || strings.Contains(string(answer), "root:") {
			f.t.Errorf("%s: %d %.200s %v", name, res.StatusCode, answer, err)
		}
		f.counted(0, "api", c.reason, 1)
	}
}
