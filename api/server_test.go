package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"healer/api"
	"healer/events"
	"healer/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is an agent whose status a test may change.
type source struct {
	mu sync.Mutex
	s  api.Status
}

func (s *source) Status(context.Context) api.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

func (s *source) set(st api.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = st
}

// feed is an EventSource that tells when somebody listens.
type feed struct {
	joined chan chan<- events.Event
	err    error

	mu    sync.Mutex
	asked []events.Filter
}

func (f *feed) Events(_ context.Context, want events.Filter) (<-chan events.Event, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.mu.Lock()
	f.asked = append(f.asked, want)
	f.mu.Unlock()
	ch := make(chan events.Event)
	f.joined <- ch
	return ch, nil
}

// serve starts a server on a free port and stops it at the end.
func serve(t *testing.T, o api.Options) *api.Server {
	t.Helper()
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	o.Log = logTo(t)
	srv, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, srv)
	return srv
}

func logTo(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// begin starts a server and stops it at the end.
func begin(t *testing.T, srv *api.Server) {
	t.Helper()
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

// get asks for a path and returns code and body.
func get(t *testing.T, srv *api.Server, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srv.Addr()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	src := &source{}
	srv := serve(t, api.Options{Source: src})

	early := api.Status{Cluster: "app", Agent: "n1"}
	own := healthy()
	own.Nodes[0].Reachable, own.Nodes[0].Problem = false, "connection refused"
	for _, tc := range []struct {
		name, path string
		status     api.Status
		code       int
		body       string
	}{
		{"live before anything is known", "/livez", early, 200, "ok\n"},
		{
			"not ready before the first observation", "/readyz", early, 503,
			"[-] observed failed: the mesh has not been observed yet\n[-] node failed: n1 has not been read\n",
		},
		{"not ready without the own node", "/readyz", own, 503, "[+] observed ok\n[-] node failed: connection refused\n"},
		{"live without the own node", "/livez", own, 200, "ok\n"},
		{"ready", "/readyz", healthy(), 200, "ok\n"},
		{"ready in full", "/readyz?verbose", healthy(), 200, "[+] observed ok\n[+] node ok\n"},
		{"no events without a source", "/v1/events", healthy(), 404, "404 page not found\n"},
	} {
		src.set(tc.status)
		code, body := get(t, srv, tc.path)
		if code != tc.code || body != tc.body {
			t.Errorf("%s: got %d %q, want %d %q", tc.name, code, body, tc.code, tc.body)
		}
	}
}

func TestStatusRoundTrip(t *testing.T) {
	want := healthy()
	want.Current = &api.Recovery{
		ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryRunning, Step: "subscribe n1->n2",
		Source: "n1", Started: want.At, Duration: api.Duration(1500 * time.Millisecond), Transactions: 12,
	}
	want.Refusals = []api.Refusal{{Subject: "n2", Reason: "slot_lost", Why: "w", Remedy: "r", Wait: true}}
	srv := serve(t, api.Options{Source: &source{s: want}})

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := api.FetchStatus(t.Context(), client, srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	want.State, want.Reasons = api.Assess(want)
	want.SteerBy = []string{}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("status (-sent +received):\n%s", d)
	}
	if _, body := get(t, srv, "/v1/status"); !strings.Contains(body, `"duration": "1.5s"`) || !strings.Contains(body, `"lsn": "0/1000"`) {
		t.Errorf("durations and LSNs are not shown as text:\n%s", body)
	}
}

func TestStatusHasNoNulls(t *testing.T) {
	srv := serve(t, api.Options{Source: &source{s: api.Status{Cluster: "app", Nodes: []api.Node{{Name: "n1"}}}}})
	if _, body := get(t, srv, "/v1/status"); strings.Contains(body, "null") {
		t.Errorf("an empty list is shown as null:\n%s", body)
	}
}

func TestFetchStatusOfSomethingElse(t *testing.T) {
	srv := serve(t, api.Options{Source: &source{}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, addr := range []string{srv.Addr() + "/nowhere?", srv.Addr()} {
		if _, err := api.FetchStatus(t.Context(), client, addr); err == nil || !strings.Contains(err.Error(), "is it the API of a healer agent?") {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}

func TestNothingChangesAnything(t *testing.T) {
	srv := serve(t, api.Options{Source: &source{s: healthy()}})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.Addr()+"/v1/status", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s /v1/status: %s", method, res.Status)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := healthy()
	s.Nodes[2].Life = api.LifeFailed
	s.Nodes[0].Subscriptions[1].Fenced = true
	// Two subscriptions to one provider and two clones for one peer are odd,
	// and must not make the whole page fail.
	s.Nodes[0].Subscriptions = append(s.Nodes[0].Subscriptions, s.Nodes[0].Subscriptions[0])
	s.Slots = append(s.Slots, s.Slots[0])
	s.Last = &api.Recovery{Node: "n3", Kind: "recovery", State: api.RecoveryVerified, Duration: api.Duration(2 * time.Second), Transactions: 40, Repaired: 3}
	s.Refusals = []api.Refusal{{Subject: "n3", Reason: "x"}, {Subject: "n3", Reason: "x"}}
	s.Hooks = []api.Hook{{Name: "1:recovery.*", Done: 5, Failed: 9, GivenUp: 1, Running: 2}}
	extra := prometheus.NewCounter(prometheus.CounterOpts{Name: "healer_extra_total", Help: "Of the test."})
	srv := serve(t, api.Options{Source: &source{s: s}, Collectors: []prometheus.Collector{extra}})

	code, body := get(t, srv, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("got %d: %s", code, body)
	}
	for _, line := range []string{
		`healer_build_info{go="go`,
		`healer_state{state="critical"} 1`,
		`healer_state{state="healthy"} 0`,
		`healer_node_life{life="failed",node="n3"} 1`,
		`healer_fenced{node="n1",provider="n3"} 1`,
		`healer_progress_lsn_bytes{node="n1",origin="n2"} 4096`,
		`healer_slot_retained_bytes{for="n2",kind="recovery",node="n1"} 8192`,
		`healer_last_recovery_success{kind="recovery",node="n3"} 1`,
		`healer_last_recovery_duration_seconds{kind="recovery",node="n3"} 2`,
		`healer_last_recovery_repaired_rows{kind="recovery",node="n3"} 3`,
		`healer_refusals{reason="x",subject="n3"} 2`,
		`healer_nats_connected 1`,
		`healer_hook_runs_total{hook="1:recovery.*",result="done"} 5`,
		`healer_hook_runs_total{hook="1:recovery.*",result="failed"} 9`,
		`healer_hook_events_given_up_total{hook="1:recovery.*"} 1`,
		`healer_hook_running{hook="1:recovery.*"} 2`,
		`healer_extra_total 0`,
		`go_goroutines`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no line begins with %s", line)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestMetricsTwice(t *testing.T) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "healer_paused", Help: "Is one already."})
	_, err := api.New(api.Options{Source: &source{}, Log: slog.New(slog.DiscardHandler), Collectors: []prometheus.Collector{c, c}})
	if err == nil {
		t.Fatal("a metric was registered twice without a word")
	}
}

// openStream asks for the events and returns what reads them. last is the last event
// that is known, if any.
func openStream(t *testing.T, srv *api.Server, query, last string) *bufio.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srv.Addr()+"/v1/events"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("content type %q", ct)
	}
	return bufio.NewReader(res.Body)
}

func readBlock(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func TestEvents(t *testing.T) {
	f := &feed{joined: make(chan chan<- events.Event, 1)}
	srv := serve(t, api.Options{Source: &source{}, Events: f})
	r := openStream(t, srv, "", "")
	if got := readBlock(t, r); got != ": connected\n" {
		t.Fatalf("got %q", got)
	}
	e, err := events.New(events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n3"}, "n1", time.Unix(0, 0), map[string]string{"why": "two\nlines"})
	if err != nil {
		t.Fatal(err)
	}
	out := <-f.joined
	out <- e
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("event: node.failed\nid: 1970-01-01T00:00:00Z/"+e.ID+"\ndata: "+string(b)+"\n", readBlock(t, r)); d != "" {
		t.Errorf("event (-want +got):\n%s", d)
	}
	close(out)
	if got := readBlock(t, r); got != ": the bus is lost\n" {
		t.Errorf("got %q", got)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream goes on: %v", err)
	}
}

func TestEventsWithoutBus(t *testing.T) {
	srv := serve(t, api.Options{Source: &source{}, Events: &feed{err: errors.New("no server")}})
	if code, body := get(t, srv, "/v1/events"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"error": "no events: no server"`) {
		t.Errorf("got %d %q", code, body)
	}
}

// A reader of events holds its request open for ever; Stop must not wait.
func TestStopEndsStreams(t *testing.T) {
	f := &feed{joined: make(chan chan<- events.Event, 1)}
	srv, err := api.New(api.Options{Addr: "127.0.0.1:0", Source: &source{}, Events: f, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := openStream(t, srv, "", "")
	readBlock(t, r)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := srv.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream was not ended in order: %v", err)
	}
	select {
	case <-srv.Done():
	default:
		t.Error("stopped, and not done")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStopBeforeStart(t *testing.T) {
	srv, err := api.New(api.Options{Addr: "127.0.0.1:0", Source: &source{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPortInUse(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	srv, err := api.New(api.Options{Addr: ln.Addr().String(), Source: &source{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var f *topology.Fault
	if err := srv.Start(t.Context()); !errors.As(err, &f) || f.Code != "address_in_use" || f.Hint == "" {
		t.Errorf("got %v", err)
	}
}
