package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"healer/api"
	"healer/control"
	"healer/events"
	"healer/internal/goschema"
	"healer/topology"
)

var rewrite = flag.Bool("rewrite", false, "make the schemas of docs/openapi.yaml anew")

const (
	openapi = "../docs/openapi.yaml"
	made    = "  # From here on made from the Go types"
)

// enums are the texts that are one of a few.
func enums() map[reflect.Type][]any {
	return map[reflect.Type][]any{
		reflect.TypeFor[api.State]():            {"healthy", "degraded", "critical", "unknown"},
		reflect.TypeFor[topology.WorkerState](): {"none", "idle", "busy"},
		reflect.TypeFor[topology.SlotKind]():    {"mesh", "recovery", "seed", "clone", "foreign"},
		reflect.TypeFor[control.Kind]():         {"maintenance", "pause", "approval", "cancellation", "acknowledgement"},
	}
}

// components are the schemas of the bodies, each type once.
func components(t *testing.T) string {
	t.Helper()
	src, err := goschema.Read("..", "api", "control", "topology")
	if err != nil {
		t.Fatal(err)
	}
	all := goschema.Object{}
	var w goschema.Writer
	w = goschema.Writer{Source: src, Known: func(t reflect.Type) goschema.Object {
		switch {
		case t == reflect.TypeFor[api.Duration]():
			return goschema.Object{"type": "string", "pattern": `^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
		case enums()[t] != nil:
			return goschema.Object{"enum": enums()[t]}
		case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[topology.LSN]():
			return nil
		}
		if _, done := all[t.Name()]; !done {
			all[t.Name()] = nil // which ends a circle
			all[t.Name()] = w.Struct(t)
		}
		return goschema.Object{"$ref": "#/components/schemas/" + t.Name()}
	}}
	for _, body := range []any{
		api.Status{}, api.Runs{}, api.Plans{}, api.Access{}, api.Controlled{}, api.Problem{}, api.MaintenanceRequest{}, api.SteerRequest{},
	} {
		w.Schema(reflect.TypeOf(body))
	}
	raw, err := json.Marshal(goschema.Object{"schemas": all})
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.JSONToYAML(raw)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// document reads docs/openapi.yaml, and makes its schemas anew when asked to.
func document(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(openapi)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), made)
	line, got, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("%s has no line %q", openapi, made)
	}
	if want := components(t); got != want {
		if !*rewrite {
			t.Fatalf("%s is not what the Go types say: go test ./api -run TestOpenAPI -args -rewrite", openapi)
		}
		text = []byte(before + made + line + "\n" + want)
		if err := os.WriteFile(openapi, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(asJSON, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// spec is the document as the answers are held against it.
type spec struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	// left are the answers that are documented and were not seen.
	left map[string]bool
}

func newSpec(t *testing.T) *spec {
	t.Helper()
	s := &spec{doc: document(t), compiler: jsonschema.NewCompiler(), left: map[string]bool{}}
	goschema.Seal(s.doc["components"])
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource("file:///openapi.yaml", any(s.doc)); err != nil {
		t.Fatal(err)
	}
	for _, route := range s.routes() {
		for code := range object(s.operation(route)["responses"]) {
			s.left[route+" "+code] = true
		}
	}
	return s
}

// routes are those of the document, as the server writes them.
func (s *spec) routes() []string {
	var out []string
	for path, item := range object(s.doc["paths"]) {
		for method := range object(item) {
			out = append(out, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

// object is what is an object of the document, and else empty.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func (s *spec) operation(route string) map[string]any {
	method, path, _ := strings.Cut(route, " ")
	return object(object(object(s.doc["paths"])[path])[strings.ToLower(method)])
}

// content is what the document has of an answer's or a request's content type.
func (s *spec) content(at string, of any, contentType string) (string, error) {
	m := object(of)
	if ref, ok := m["$ref"].(string); ok {
		at = strings.TrimPrefix(ref, "#")
		var v any = s.doc
		for part := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
			v = object(v)[part]
		}
		m = object(v)
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", err
	}
	if _, ok := object(m["content"])[media]; !ok {
		return "", fmt.Errorf("content type %s is not documented", media)
	}
	return at + "/content/" + pointer(media) + "/schema", nil
}

func pointer(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// valid holds a JSON body against a schema of the document.
func (s *spec) valid(at string, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	schema, err := s.compiler.Compile("file:///openapi.yaml#" + at)
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// check holds an answer against the document.
func (s *spec) check(route string, code int, contentType string, body []byte) error {
	key := fmt.Sprintf("%s %d", route, code)
	of, ok := object(s.operation(route)["responses"])[fmt.Sprint(code)]
	if !ok {
		return errors.New("the answer's code is not documented")
	}
	delete(s.left, key)
	method, path, _ := strings.Cut(route, " ")
	at, err := s.content("/paths/"+pointer(path)+"/"+strings.ToLower(method)+"/responses/"+fmt.Sprint(code), of, contentType)
	if err != nil || !strings.HasPrefix(contentType, "application/json") {
		return err
	}
	return s.valid(at, body)
}

// full is a source with something of everything that a status can have.
func full() api.Status {
	s := healthy()
	at := s.At
	s.Paused, s.Advice = true, "an agent is of another version"
	s.Control = []control.Entry{{Kind: control.Pause, At: at, Until: at.Add(time.Hour), By: "me", Reason: "why"}}
	s.Witnesses = []api.Witness{{Name: "w1", AgentAlive: true}}
	n := &s.Nodes[0]
	n.Reachable, n.Reason, n.Problem, n.Unwatched = false, "r", "p", true
	n.Findings = []topology.Finding{{Code: "grant", Detail: "d", Remedy: "r", Blocking: true}}
	n.Conditions = []api.Condition{{Code: "flapping", Severity: "warning", Text: "t", Leads: "l"}}
	n.Flapping = &api.Flapping{Failures: 3, HoldDown: api.Duration(1500 * time.Millisecond), Held: true}
	n.LogEnd = &topology.LogEnd{Identity: topology.Identity{SystemID: 1 << 63, Timeline: 1, StartedAt: 42}, Flushed: 0x500, At: at}
	n.Unsent = topology.Unsent{UnsentBytes: new(int64(0)), UnsentAsOf: at}
	s.Nodes[1].Unsent = topology.Unsent{UnsentUnknown: "u"}
	s.Feeds = []api.Feed{{Node: "n1", For: "n2", Name: "sub"}}
	s.Current = &api.Recovery{
		ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryRunning, Step: "subscribe n1->n2", Source: "n1", Started: at,
		Duration: api.Duration(time.Millisecond), ConflictCounts: []topology.ConflictCount{{Table: "t", Kind: "row_missing", Action: "added", Count: 1}},
		Error: "e", Hint: "h",
	}
	s.Last = s.Current
	s.Refusals = []api.Refusal{{Subject: "n3", Reason: "mode_advises", Node: "n1", Why: "w", Remedy: "r", Wait: true, Recovery: "r1", Plan: "p"}}
	s.Gossip = api.Gossip{
		Encrypted: true, Keys: 2, KeyProblem: "p", Refused: []api.GossipRefusal{{Reason: "wrong_key", Count: 2, Last: at, From: "h", Detail: "d"}},
		SecondAgent: &api.SecondAgent{Addr: "a", Since: at, Seen: at},
	}
	s.Hooks = []api.Hook{{Name: "1:recovery.*", Done: 1, Problem: "p"}}
	s.NATS.Problem = "p"
	return s
}

// past is a RecoverySource and a PlanSource with one of each.
type past struct{}

func (past) Recoveries(context.Context) ([]api.Run, error) {
	s := full()
	write := topology.RowWrite{Node: "n1", At: s.At}
	return []api.Run{{
		Recovery: *s.Current, Run: "RUN1", Agent: "n1", Incarnation: "i", Survivors: []string{"n1", "n2"}, Watermark: 0x1000,
		Steps: []api.RunStep{{
			Kind: "subscribe", Node: "n1", Target: "n2", State: "done", Attempts: 2, Started: s.At, Duration: api.Duration(time.Second),
			Evidence: "600 transactions", Figures: map[string]int64{"transactions": 600}, Error: "e", Hint: "h",
			Tries: []api.RunTry{{At: s.At, Error: "cut"}},
		}},
		Listed: []topology.RowConflict{{
			Kind: "row_missing", Table: "t", Key: map[string]string{"id": "1"}, OtherKey: map[string]string{"id": "2"}, Node: "n2",
			Remote: write, Local: &write, LSN: 5, Constraint: "c", Action: "added",
		}},
	}}, errors.New("a line is broken")
}

func (past) Plans(_ context.Context, failed string) ([]api.Plan, error) {
	if failed == "n9" {
		return nil, &topology.Fault{Code: "node_unknown", Hint: "name one of n1, n2, n3", Err: errors.New("no such node")}
	}
	refusal := full().Refusals[0]
	return []api.Plan{{
		ID: "r1", Kind: "recovery", Node: "n3", Shape: "s", Survivors: []string{"n1", "n2"}, Fenced: true, Source: "n1", Watermark: 9,
		Lanes:  []api.PlanLane{{Target: "n2", Source: "n1", From: 1, To: 9, Rows: true}},
		Steps:  []api.PlanStep{{ID: "fence n1", Kind: "fence", Node: "n1", Target: "n2", After: []string{"x"}, Before: "b", Then: "t"}},
		Unsent: topology.Unsent{UnsentBytes: new(int64(7)), UnsentAsOf: time.Unix(1, 0).UTC()}, Refusal: &refusal,
	}}, nil
}

// ask is a request and what it is to be answered.
type ask struct {
	route, path string
	header      map[string]string
	body        string
	code        int
}

func asks() []ask {
	shown := map[string]string{"Authorization": "Bearer s3cret"}
	out := []ask{
		{route: "GET /", code: 200},
		{route: "GET /console/{file}", path: "/console/main.js", code: 200},
		{route: "GET /console/{file}", path: "/console/console.css", code: 200},
		{route: "GET /console/{file}", path: "/console/icon.svg", code: 200},
		{route: "GET /console/{file}", path: "/console/..%2fconsole.go", code: 404},
		{route: "GET /livez", code: 200},
		{route: "GET /readyz", path: "/readyz?verbose", code: 503},
		{route: "GET /metrics", code: 200},
		{route: "GET /openapi.yaml", code: 200},
		{route: "GET /v1/status", code: 200},
		{route: "GET /v1/recoveries", code: 200},
		{route: "GET /v1/recoveries/{id}", path: "/v1/recoveries/r1", code: 200},
		{route: "GET /v1/recoveries/{id}", path: "/v1/recoveries/r2", code: 404},
		{route: "GET /v1/plan", code: 200},
		{route: "GET /v1/plan", path: "/v1/plan?failed=n9", code: 404},
		{route: "GET /v1/events", path: "/v1/events?kinds=nonesuch.*", code: 400},
		{route: "GET /v1/events", path: "/v1/events?from=soon", code: 400},
		{route: "GET /v1/events", header: map[string]string{"Last-Event-ID": "7"}, code: 400},
		{route: "GET /v1/control", header: shown, code: 200},
		{route: "GET /v1/control", code: 401},
	}
	for _, verb := range []string{"maintenance", "pause", "resume", "approve", "cancel", "ack"} {
		route := "POST /v1/control/" + verb
		out = append(out,
			ask{route: route, header: shown, body: `{"node": "n1", "for": "30m", "by": "me", "reason": "r", "dry_run": true}`, code: 200},
			ask{route: route, header: shown, body: `{}{}`, code: 400},
			ask{route: route, body: `{}`, code: 401},
			ask{route: route, header: shown, body: `{"node": "` + strings.Repeat("x", 32<<10) + `"}`, code: 413},
			ask{route: route, header: shown, body: `{"node": "n9"}`, code: 422})
	}
	return out
}

// send asks, and holds request and answer against the document.
func (s *spec) send(t *testing.T, addr string, a ask) {
	t.Helper()
	method, path, _ := strings.Cut(a.route, " ")
	if a.path != "" {
		path = a.path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range a.header {
		req.Header.Set(k, v)
	}
	res, body := do(t, req)
	if res.StatusCode != a.code {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, res.StatusCode, a.code, body)
	}
	if err := s.check(a.route, res.StatusCode, res.Header.Get("Content-Type"), body); err != nil {
		t.Errorf("%s %s: %v\n%s", method, path, err, body)
	}
	if a.body != "" && a.code == http.StatusOK {
		at, err := s.content("/paths/"+pointer(path)+"/post/requestBody", s.operation(a.route)["requestBody"], "application/json")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.valid(at, []byte(a.body)); err != nil {
			t.Errorf("%s: the request %s: %v", path, a.body, err)
		}
	}
}

// TestOpenAPI: the document has the routes that there are, every answer is as it says,
// and every answer that it has was seen.
func TestOpenAPI(t *testing.T) {
	s := newSpec(t)
	o := api.Options{
		Source: &source{s: full()}, Recoveries: past{}, Plans: past{}, Events: &feed{err: errors.New("no server")},
		Steering: &wheel{unknown: "n9"}, Token: func() (string, error) { return "s3cret", nil },
	}
	var patterns []string
	for _, p := range api.Patterns(o) {
		patterns = append(patterns, strings.Replace(p, "/{$}", "/", 1))
	}
	slices.Sort(patterns)
	if got := s.routes(); !slices.Equal(got, patterns) {
		t.Fatalf("the document has %q, the server %q", got, patterns)
	}
	srv := serve(t, o)
	for _, a := range asks() {
		s.send(t, srv.Addr(), a)
	}
	s.send(t, srv.Addr(), ask{route: "GET /v1/events", code: 503})
	s.elsewhere(t)
	for left := range s.left {
		t.Errorf("%s is documented and was never answered", left)
	}
}

// elsewhere asks servers in other conditions.
func (s *spec) elsewhere(t *testing.T) {
	t.Helper()
	f := &feed{joined: make(chan chan<- events.Event, 1)}
	ready := serve(t, api.Options{Source: &source{s: healthy()}, Events: f})
	s.send(t, ready.Addr(), ask{route: "GET /readyz", code: 200})
	go func() { close(<-f.joined) }()
	s.send(t, ready.Addr(), ask{route: "GET /v1/events", path: "/v1/events?kinds=node.*,recovery.failed&from=1h", code: 200})
	open := serve(t, api.Options{Source: &source{s: healthy()}, Steering: &wheel{}})
	broken := serve(t, api.Options{Source: &source{s: healthy()}, Steering: &wheel{}, Token: func() (string, error) { return "", errors.New("gone") }})
	for _, route := range s.routes() {
		if !strings.Contains(route, "/v1/control") {
			continue
		}
		body := "{}"
		if strings.HasPrefix(route, "GET") {
			body = ""
		}
		s.send(t, broken.Addr(), ask{route: route, body: body, code: 503})
		s.away(t, open.Addr(), route)
	}
}

// do keeps no connection, which would outlive the test.
func do(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res, body
}

// away asks under a name that somebody else has pointed here.
func (s *spec) away(t *testing.T, addr, route string) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	res, body := do(t, req)
	if err := s.check(route, res.StatusCode, res.Header.Get("Content-Type"), body); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%s: %d, %v\n%s", route, res.StatusCode, err, body)
	}
}
