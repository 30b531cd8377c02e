package hooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/config"
	"healer/events"
	"healer/events/eventstest"
	"healer/events/natsbus"
	"healer/topology"
)

// patience bounds every wait; it is no expectation of speed.
const patience = 60 * time.Second

// program is the word by which this test binary is a hook's program.
const asProgram = "be-a-hook"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asProgram {
		os.Exit(beProgram(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// call is what a program was given.
type call struct {
	Args, Env []string
	Dir       string
	Event     events.Event
}

// beProgram writes down what it was given, and then does what the first argument
// says.
func beProgram(dir string, args []string) int {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 3
	}
	c := call{Args: args, Env: os.Environ()}
	if c.Event, err = events.Decode(in); err != nil {
		return 4
	}
	if c.Dir, err = os.Getwd(); err != nil {
		return 5
	}
	b, err := json.Marshal(c)
	if err != nil {
		return 6
	}
	if err := os.WriteFile(filepath.Join(dir, c.Event.ID+"."+os.Getenv("HEALER_TRY")), b, 0o600); err != nil {
		return 7
	}
	switch args[0] {
	case "fail":
		fmt.Println("no\n luck")
		return 9
	case "hang":
		select {}
	}
	return 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// agents runs a NATS server with n agents' buses.
func agents(t *testing.T, n int) []*natsbus.Bus {
	t.Helper()
	s, err := natsbus.StartServer(t.Context(), natsbus.ServerOptions{Node: "n1", Cluster: "app", Client: "127.0.0.1:0", StoreDir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Shutdown(context.Background())) })
	var all []*natsbus.Bus
	for i := range n {
		b, err := natsbus.Connect(t.Context(), natsbus.Options{
			DialOptions: natsbus.DialOptions{Cluster: "app", URLs: []string{s.URL()}}, Agent: fmt.Sprintf("n%d", i+1), Replicas: 1, Dir: t.TempDir(),
		})
		must(t, err)
		t.Cleanup(func() { must(t, b.Close(context.Background())) })
		all = append(all, b)
	}
	return all
}

func start(t *testing.T, b Bus, agent string, log io.Writer, hooks ...config.Hook) *Hooks {
	t.Helper()
	h, err := Start(t.Context(), Options{Bus: b, Agent: agent, Hooks: hooks, Log: slog.New(slog.NewTextHandler(log, nil))})
	must(t, err)
	t.Cleanup(h.Stop)
	return h
}

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestProgram: of three agents one runs the program, once for each event of the
// pattern, with the event on its standard input and hardly anything around it.
func TestProgram(t *testing.T) {
	t.Setenv("PGPASSWORD", "hunter2")
	dir := t.TempDir()
	c := config.Hook{On: "recovery.*", Exec: []string{os.Args[0], asProgram, dir, "do", "$HOME; rm -rf x"}, Timeout: patience}
	buses := agents(t, 3)
	var all []*Hooks
	for i, b := range buses {
		all = append(all, start(t, b, fmt.Sprintf("n%d", i+1), io.Discard, c))
	}
	steps := eventstest.MakeN(t, "app", events.RecoveryStep, 12)
	for _, b := range buses {
		must(t, b.Publish(eventstest.Make(t, "app", events.NodeFailed, "")))
		for _, e := range steps {
			must(t, b.Publish(e))
		}
	}
	done := func() (n int) {
		for _, h := range all {
			n += h.Status()[0].Done
		}
		return n
	}
	until(t, "all have run", func() bool { return done() >= len(steps) })
	for _, h := range all {
		h.Stop()
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != len(steps) || done() != len(steps) {
		t.Errorf("%d runs of %d, %d files, %v", done(), len(steps), len(files), err)
	}
	b, err := os.ReadFile(filepath.Join(dir, steps[3].ID+".1"))
	must(t, err)
	var got call
	must(t, json.Unmarshal(b, &got))
	if string(got.Event.Data) != string(steps[3].Data) || got.Dir != "/" || !slices.Equal(got.Args, c.Exec[3:]) {
		t.Errorf("the program was given %s", b)
	}
	want := []string{"HEALER_CLUSTER=app", "HEALER_EVENT_KIND=recovery.step", "HEALER_EVENT_ID=" + steps[3].ID, "HEALER_NODE=n2", "HEALER_SEVERITY=info", "HEALER_TRY=1"}
	for _, w := range want {
		if !slices.Contains(got.Env, w) {
			t.Errorf("the environment lacks %s: %v", w, got.Env)
		}
	}
	if strings.Contains(strings.Join(got.Env, " "), "hunter2") {
		t.Errorf("the agent's environment is given away: %v", got.Env)
	}
}

// TestProgramThatFails is tried again, and what it said is logged; one that hangs is
// killed with its children.
func TestProgramThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := agents(t, 1)[0]
	log := &lines{}
	h := start(t, b, "n1", log,
		config.Hook{On: "node.failed", Exec: []string{os.Args[0], asProgram, dir, "fail"}, Timeout: patience},
		config.Hook{On: "node.returned", Exec: []string{"/bin/sh", "-c", `sleep 1000 & echo $! > "$0/child.$HEALER_TRY"; wait`, dir}, Timeout: time.Second})
	failed := eventstest.Make(t, "app", events.NodeFailed, "")
	must(t, b.Publish(failed))
	must(t, b.Publish(eventstest.Make(t, "app", events.NodeReturned, "")))
	until(t, "both have failed twice", func() bool {
		s := h.Status()
		return s[0].Failed >= 2 && s[1].Failed >= 2
	})
	for _, try := range []string{".1", ".2"} {
		if _, err := os.Stat(filepath.Join(dir, failed.ID+try)); err != nil {
			t.Error(err)
		}
	}
	child, err := os.ReadFile(filepath.Join(dir, "child.1"))
	must(t, err)
	until(t, "the child of the program that hung is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") // nobody may be there to bury it
	})
	for _, want := range []string{"exit status 9: no luck", "/bin/sh was killed", "is tried again", `hook=1:node.failed`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if s := h.Status(); s[0].Done+s[1].Done != 0 || s[0].Problem == "" || s[0].GivenUp != 0 {
		t.Errorf("%+v", s)
	}
}

// TestLastTry: after the last try the event is given up, and counted so.
func TestLastTry(t *testing.T) {
	t.Parallel()
	k := &hook{on: ">", runner: &program{argv: []string{"/bin/false"}}, log: slog.New(slog.DiscardHandler)}
	e := eventstest.Make(t, "app", events.NodeFailed, "")
	for try := 1; try <= tries; try++ {
		if k.handle(t.Context(), e, try) == nil {
			t.Fatal("/bin/false has succeeded")
		}
	}
	if k.Failed != tries || k.GivenUp != 1 || k.Done != 0 || k.Running != 0 {
		t.Errorf("%+v", k.Status)
	}
	entry := e
	entry.Type = "healer.v1.journal.entry"
	if err := k.handle(t.Context(), entry, 1); err != nil || k.Failed != tries {
		t.Errorf("a line of the journal was news: %v", err)
	}
}

// TestWebhook: the receiver can tell by the signature who sends, of two secrets by
// either; what it refuses is sent again under the same id.
func TestWebhook(t *testing.T) {
	t.Parallel()
	raw := []byte("0123456789abcdef0123456789abcdef")
	secrets := []string{"whsec_" + base64.StdEncoding.EncodeToString(raw), "an older secret of some length"}
	type got struct {
		header http.Header
		body   []byte
	}
	requests := make(chan got, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/t0psecret" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		requests <- got{r.Header, body}
		if len(requests) == 1 {
			http.Error(w, "come back later", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	b, log := agents(t, 1)[0], &lines{}
	h := start(t, b, "n1", log, config.Hook{
		On: "node.*", Webhook: srv.URL + "/t0psecret", SecretFile: secretFile(t, "# both\n"+strings.Join(secrets, "\n")+"\n"), Timeout: patience,
	})
	e := eventstest.Make(t, "app", events.NodeFailed, "")
	must(t, b.Publish(e))
	until(t, "it is taken", func() bool { return h.Status()[0].Done == 1 })
	if s := h.Status()[0]; s.Failed != 1 || s.Problem != "" || len(requests) != 2 {
		t.Fatalf("%+v, %d requests", s, len(requests))
	}
	for range 2 {
		r := <-requests
		id, at := r.header.Get("Webhook-Id"), r.header.Get("Webhook-Timestamp")
		sec, err := strconv.ParseInt(at, 10, 64)
		if id != e.ID || err != nil || time.Since(time.Unix(sec, 0)) > patience || r.header.Get("Content-Type") != "application/cloudevents+json" {
			t.Errorf("headers %v", r.header)
		}
		var want []string
		for _, key := range [][]byte{raw, []byte(secrets[1])} {
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s.%s.%s", id, at, r.body)
			want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		if sig := r.header.Get("Webhook-Signature"); sig != strings.Join(want, " ") {
			t.Errorf("signature %s: want %s", sig, want)
		}
		if sent, err := events.Decode(r.body); err != nil || string(sent.Data) != string(e.Data) {
			t.Errorf("body %s: %v", r.body, err)
		}
	}
	if !strings.Contains(log.String(), "503 Service Unavailable: come back later") {
		t.Errorf("the log does not say what the receiver said:\n%s", log)
	}
	if strings.Contains(log.String(), "t0psecret") || strings.Contains(log.String(), secrets[1]) {
		t.Errorf("the log gives secrets away:\n%s", log)
	}
}

// TestSignature is the example of the Standard Webhooks specification's libraries.
func TestSignature(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	must(t, err)
	got := signatures([][]byte{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s: want %s", got, want)
	}
}

// TestReceiverInTrouble: redirects are not followed, and what cannot be reached says
// so without its URL.
func TestReceiverInTrouble(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	t.Cleanup(srv.Close)
	secret := secretFile(t, strings.Repeat("s", minSecret))
	e := eventstest.Make(t, "app", events.NodeFailed, "")
	for url, want := range map[string]string{srv.URL + "/hush": "307 Temporary Redirect", "http://127.0.0.1:1/hush": "connection refused"} {
		w, err := newWebhook(url, secret)
		must(t, err)
		if err := w.run(t.Context(), e, 1); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", url, err)
		}
	}
	w, err := newWebhook(srv.URL, secret)
	must(t, err)
	must(t, os.Remove(secret))
	if err := w.run(t.Context(), e, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its secret: %v", err)
	}
}

// TestUnusable: an agent does not start with a hook that could never run.
func TestUnusable(t *testing.T) {
	t.Parallel()
	open := secretFile(t, strings.Repeat("s", minSecret))
	must(t, os.Chmod(open, 0o644))
	for name, c := range map[string]struct {
		hook config.Hook
		want string
	}{
		"no program":     {config.Hook{On: ">", Exec: []string{"/no/such/program"}}, "/no/such/program"},
		"no secret":      {config.Hook{On: ">", Webhook: "http://h", SecretFile: "/no/such/file"}, "/no/such/file"},
		"an open secret": {config.Hook{On: ">", Webhook: "http://h", SecretFile: open}, "chmod 0600"},
		"an empty file":  {config.Hook{On: ">", Webhook: "http://h", SecretFile: secretFile(t, "# none\n")}, "has no secret"},
		"a short secret": {config.Hook{On: ">", Webhook: "http://h", SecretFile: secretFile(t, "hunter2")}, "line 1 has 7 bytes"},
		"no base64":      {config.Hook{On: ">", Webhook: "http://h", SecretFile: secretFile(t, "whsec_hunter2!")}, "line 1 is not base64"},
	} {
		_, err := Start(t.Context(), Options{Hooks: []config.Hook{c.hook}, Log: slog.New(slog.DiscardHandler)})
		f, ok := errors.AsType[*topology.Fault](err)
		if !ok || f.Code != "hook_unusable" || f.Hint == "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
