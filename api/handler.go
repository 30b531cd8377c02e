package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"healer/api/console"
	"healer/docs"
)

// handler routes the requests. What is not GET changes something and is guarded.
func handler(o Options, d *doors) (http.Handler, error) {
	reg := prometheus.NewRegistry()
	for _, c := range slices.Concat([]prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newStatusCollector(o.Source),
	}, d.collectors(), o.Collectors) {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	for _, r := range routes(o, reg) {
		mux.Handle(r.pattern, r.handler)
	}
	return d.watch(mux), nil
}

// route is a way in. docs/openapi.yaml has each.
type route struct {
	pattern string
	handler http.Handler
}

func routes(o Options, metrics prometheus.Gatherer) []route {
	page := console.Handler()
	out := []route{
		{"GET /{$}", page},
		{"GET /console/{file}", page},
		{"GET /livez", http.HandlerFunc(livez)},
		{"GET /readyz", readyz(o.Source)},
		{"GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: promLog{o}, MaxRequestsInFlight: 4})},
		{"GET /openapi.yaml", document("application/yaml", docs.OpenAPI)},
		{"GET /v1/status", status(o)},
	}
	if o.Recoveries != nil {
		out = append(out, route{"GET /v1/recoveries", recoveries(o.Source, o.Recoveries)}, route{"GET /v1/recoveries/{id}", recoveries(o.Source, o.Recoveries)})
	}
	if o.Plans != nil {
		out = append(out, route{"GET /v1/plan", plans(o.Source, o.Plans)})
	}
	if o.Events != nil {
		out = append(out, route{"GET /v1/events", newStreams(o)})
	}
	if o.Steering != nil {
		out = append(out, steering(o)...)
	}
	return out
}

// current is the Source's status with its verdict, and with empty lists where
// it had none at all, so that a reader of the JSON need not tell null from [].
func current(ctx context.Context, src Source) Status {
	s := src.Status(ctx)
	s.State, s.Reasons = Assess(s)
	s.Nodes = append([]Node{}, s.Nodes...)
	for i, n := range s.Nodes {
		s.Nodes[i].Subscriptions = append([]Subscription{}, n.Subscriptions...)
	}
	s.Progress = append([]Progress{}, s.Progress...)
	s.Slots = append([]Slot{}, s.Slots...)
	s.Feeds = append([]Feed{}, s.Feeds...)
	s.Refusals = append([]Refusal{}, s.Refusals...)
	return s
}

// promLog gives promhttp the logger it wants.
type promLog struct{ o Options }

// Println implements promhttp.Logger.
func (l promLog) Println(v ...any) { l.o.Log.Warn("metrics", "error", fmt.Sprint(v...)) }

// livez says that the process serves. It asks nobody: a supervisor that
// restarts agents while PostgreSQL is away would take the healer with it.
func livez(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyCheck is one thing an agent needs before it is of use.
type readyCheck struct {
	name string
	ok   bool
	why  string
}

func readyChecks(s Status) []readyCheck {
	observed := readyCheck{name: "observed", ok: !s.At.IsZero(), why: "the mesh has not been observed yet"}
	if slices.ContainsFunc(s.Witnesses, func(w Witness) bool { return w.Name == s.Agent }) {
		return []readyCheck{observed}
	}
	own := readyCheck{name: "node", why: s.Agent + " has not been read"}
	for _, n := range s.Nodes {
		if n.Name == s.Agent {
			own.ok = n.Reachable
			if n.Problem != "" {
				own.why = n.Problem
			}
		}
	}
	return []readyCheck{observed, own}
}

// readyz says whether the agent has observed the mesh and reads its own node;
// with ?verbose it lists the checks. NATS is not among them: healing does not
// depend on it.
func readyz(src Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := http.StatusOK
		var b strings.Builder
		for _, c := range readyChecks(current(r.Context(), src)) {
			if c.ok {
				fmt.Fprintf(&b, "[+] %s ok\n", c.name)
				continue
			}
			code = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "[-] %s failed: %s\n", c.name, c.why)
		}
		switch {
		case r.URL.Query().Has("verbose") || code != http.StatusOK:
			plain(w, code, b.String())
		default:
			plain(w, code, "ok\n")
		}
	})
}

func status(o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := current(r.Context(), o.Source)
		s.SteerBy = []string{}
		if o.Steering != nil {
			s.SteerBy = keysOf(o).ways()
		}
		respond(w, http.StatusOK, s)
	})
}

// document serves what was built in.
func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		head(w, http.StatusOK, contentType)
		_, _ = w.Write(body) // the reader has gone: nobody to tell
	})
}

func plain(w http.ResponseWriter, code int, body string) {
	head(w, code, "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(body)) // the reader has gone: nobody to tell
}

// head keeps what is true only now out of caches, and text out of browsers'
// guesses.
func head(w http.ResponseWriter, code int, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
}
