package tracing_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"healer/executor"
	"healer/internal/tracing"
	"healer/planner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is what the journal has of a run: a step that was repeated, and one that failed.
func run(recovery, id string) []executor.Entry {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	fence := &planner.Step{ID: "s1", Kind: planner.StepFence, Node: "n2"}
	clone := &planner.Step{ID: "s2", Kind: planner.StepClone, Node: "n2", Target: "n3"}
	all := []executor.Entry{
		{Event: executor.EntryBegin, At: at, Plan: &planner.Plan{Kind: planner.Recovery}},
		{Event: executor.EntryAttempt, At: at.Add(10 * time.Millisecond), Step: fence, Error: "deadlock detected"},
		{
			Event: executor.EntryStep, At: at.Add(30 * time.Millisecond), Step: fence, State: "done", Attempts: 2,
			Duration: 25 * time.Millisecond, Evidence: "disabled", Figures: map[string]int64{"missing": 3},
		},
		{Event: executor.EntryStep, At: at.Add(40 * time.Millisecond), Step: clone, State: "failed", Attempts: 1, Duration: 5 * time.Millisecond, Error: "no slot"},
		{Event: executor.EntryEnd, At: at.Add(50 * time.Millisecond), State: "failed", Error: "no slot"},
	}
	for i := range all {
		all[i].Run, all[i].Recovery, all[i].Agent, all[i].Node, all[i].Incarnation = id, recovery, "n2", "n1", "1.0"
	}
	return all
}

// collector is a server that keeps what it is sent; it refuses the first requests.
func collector(t *testing.T, refuse int) (url string, next func() map[string]any) {
	got := make(chan map[string]any, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Key") != "a b" {
			t.Errorf("request %s %v: %v", r.URL, r.Header, err)
		}
		if refuse--; refuse >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var body map[string]any
		if err := json.Unmarshal(b, &body); err != nil {
			t.Error(err)
		}
		got <- body
	}))
	t.Cleanup(s.Close)
	return s.URL, func() map[string]any {
		select {
		case b := <-got:
			return b
		case <-time.After(time.Minute):
			t.Fatal("nothing is sent")
			return nil
		}
	}
}

func start(t *testing.T, env map[string]string) *tracing.Tracer {
	t.Helper()
	settings, err := tracing.FromEnviron(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	tr := tracing.Start(t.Context(), tracing.Options{Settings: settings, Cluster: "shop", Version: "v1", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := tr.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func TestARunBecomesATrace(t *testing.T) {
	url, next := collector(t, 2)
	tr := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url + "/", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b"})
	for _, e := range run("r1", "u1") {
		if err := tr.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	body := next()
	spans := body["resourceSpans"].([]any)[0].(map[string]any)["scopeSpans"].([]any)[0].(map[string]any)["spans"].([]any) //nolint:errcheck // panics are failures
	type seen struct {
		Name, Parent, Status string
		Attributes           map[string]any
		Events               int
	}
	var got []seen
	ids := map[string]string{"": ""}
	for _, s := range spans {
		m := s.(map[string]any)                                                                                                                    //nolint:errcheck // as above
		name := m["name"].(string)                                                                                                                 //nolint:errcheck // as above
		if id := m["spanId"].(string); len(id) != 16 || len(m["traceId"].(string)) != 32 || m["traceId"] != spans[0].(map[string]any)["traceId"] { //nolint:errcheck // as above
			t.Errorf("ids of %v", m)
		} else {
			ids[id] = name
		}
		parent, _ := m["parentSpanId"].(string)
		status, _ := m["status"].(map[string]any)["message"].(string)
		events, _ := m["events"].([]any)
		out := seen{Name: name, Parent: ids[parent], Status: status, Attributes: map[string]any{}, Events: len(events)}
		for _, a := range m["attributes"].([]any) { //nolint:errcheck // as above
			for _, v := range a.(map[string]any)["value"].(map[string]any) { //nolint:errcheck // as above
				out.Attributes[a.(map[string]any)["key"].(string)] = v //nolint:errcheck // as above
			}
		}
		got = append(got, out)
	}
	want := []seen{
		{Name: "recovery n1", Status: "no slot", Attributes: map[string]any{
			"healer.recovery": "r1", "healer.run": "u1", "healer.agent": "n2", "healer.node": "n1", "healer.incarnation": "1.0", "healer.state": "failed",
		}},
		{Name: "fence n2", Parent: "recovery n1", Events: 1, Attributes: map[string]any{
			"healer.step": "s1", "healer.step.kind": "fence", "healer.step.node": "n2", "healer.state": "done",
			"healer.attempts": "2", "healer.evidence": "disabled", "healer.missing": "3",
		}},
		{Name: "clone n2", Parent: "recovery n1", Status: "no slot", Attributes: map[string]any{
			"healer.step": "s2", "healer.step.kind": "clone", "healer.step.node": "n2", "healer.step.target": "n3", "healer.state": "failed", "healer.attempts": "1",
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
}

// What only looked is no trace, and neither is anything without an endpoint.
func TestNothingIsSent(t *testing.T) {
	url, next := collector(t, 0)
	tr := start(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url + "/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a b"})
	looked, whole := run("r1", "looks"), run("r2", "acts")
	for _, e := range append([]executor.Entry{looked[0], looked[4]}, whole...) {
		if err := tr.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := json.Marshal(next()); err != nil || strings.Contains(string(b), "looks") || !strings.Contains(string(b), "acts") {
		t.Errorf("sent %s: %v", b, err)
	}
	none := start(t, nil)
	if none != nil || none.Record(whole...) != nil {
		t.Error("something is traced without an endpoint")
	}
}

// A collector that does not answer holds up nobody's end.
func TestStopDoesNotWaitForTheCollector(t *testing.T) {
	hangs := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil { // or the server would not see the client go
			t.Error(err)
		}
		close(hangs)
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	tr := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": s.URL})
	if err := tr.Record(run("r1", "u1")...); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hangs:
	case <-time.After(time.Minute):
		t.Fatal("nothing is sent")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := tr.Record(run("r2", "u2")...); err != nil {
		t.Error(err)
	}
}

func TestBadEnvironment(t *testing.T) {
	for _, env := range []map[string]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://localhost:4317"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "secret"},
	} {
		_, err := tracing.FromEnviron(func(k string) string { return env[k] })
		if err == nil || !strings.Contains(err.Error(), "OTEL_") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v gives %v", env, err)
		}
	}
	off, err := tracing.FromEnviron(func(k string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}[k]
	})
	if err != nil || off.URL != "" {
		t.Errorf("switched off it sends to %q: %v", off.URL, err)
	}
}
