package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxConns bounds the open connections: far more than probes, scrapes and operators
// need, and few enough that none of the process' files are missing elsewhere.
const maxConns = 512

// doors counts who comes in by which way, and turns away what is too much.
type doors struct {
	requests *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	limit    int

	mu sync.Mutex
	// open has for each connection whether a request came whole.
	open map[net.Conn]bool
}

// The reasons for which a connection ends without an answer.
const (
	tooMany    = "too_many"
	unfinished = "unfinished_request"
)

func newDoors() *doors {
	d := &doors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "healer_api_requests_total", Help: "Requests by the route that took them, empty for none, and by the answer's code.",
		}, []string{"route", "code"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "healer_api_connections_dropped_total", Help: "Connections that were closed without a request: there were too many, or none came whole in time.",
		}, []string{"reason"}),
		limit: maxConns, open: map[net.Conn]bool{},
	}
	for _, reason := range []string{tooMany, unfinished} {
		d.dropped.WithLabelValues(reason)
	}
	return d
}

func (d *doors) collectors() []prometheus.Collector {
	return []prometheus.Collector{d.requests, d.dropped}
}

// connKey is where a request's context has its connection.
type connKey struct{}

// connContext is for http.Server.ConnContext.
func (d *doors) connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connState is for http.Server.ConnState.
func (d *doors) connState(c net.Conn, s http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch s {
	case http.StateNew:
		if len(d.open) >= d.limit {
			d.dropped.WithLabelValues(tooMany).Inc()
			_ = c.Close() // the server finds it closed and lets go of it
			return
		}
		d.open[c] = true // one that never says anything is no news
	case http.StateActive:
		if _, in := d.open[c]; in {
			d.open[c] = false
		}
	case http.StateIdle:
		d.open[c] = true
	case http.StateClosed, http.StateHijacked:
		if whole, in := d.open[c]; in && !whole {
			d.dropped.WithLabelValues(unfinished).Inc()
		}
		delete(d.open, c)
	}
}

// whole notes that a connection's request has come.
func (d *doors) whole(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, in := d.open[c]; in {
		d.open[c] = true
	}
}

// watch counts what next answers.
func (d *doors) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			d.whole(c)
		}
		counted := &answer{ResponseWriter: w, code: http.StatusOK}
		// The router notes the route in the request itself. What panics is counted too.
		defer func() { d.requests.WithLabelValues(r.Pattern, strconv.Itoa(counted.code)).Inc() }()
		next.ServeHTTP(counted, r)
	})
}

// answer remembers the code of an answer.
type answer struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
