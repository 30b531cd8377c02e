package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// maxConns bounds the open connections: far more than probes, scrapes and operators
// need, and few enough that none of the process' files are missing elsewhere.
const maxConns = 512

// doors counts who comes in by which way, and turns away what is too much.
type doors struct {
	src      Source
	requests *prometheus.CounterVec
	refused  *prometheus.Desc
	limit    int

	mu sync.Mutex
	// open has for each connection whether a request came whole.
	open map[net.Conn]bool
	// shut is how often the API has turned somebody away, by reason.
	shut map[string]uint64
}

// The reasons for which a connection ends without an answer; the others are the codes
// of answers.
const (
	tooMany    = "too_many"
	unfinished = "unfinished_request"
	noTLS      = "tls_handshake"
)

func newDoors(src Source) *doors {
	return &doors{
		src: src,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "healer_api_requests_total", Help: "Requests by the route that took them, empty for none, and by the answer's code.",
		}, []string{"route", "code"}),
		refused: prometheus.NewDesc("healer_refused_requests_total",
			"What was turned away at a door: a request or connection at the api, a packet or connection at gossip, a login, message or connection at the agent's own nats.",
			[]string{"door", "reason"}, nil),
		limit: maxConns, open: map[net.Conn]bool{}, shut: map[string]uint64{tooMany: 0, unfinished: 0},
	}
}

func (d *doors) collectors() []prometheus.Collector { return []prometheus.Collector{d.requests, d} }

// Describe implements prometheus.Collector.
func (d *doors) Describe(ch chan<- *prometheus.Desc) { ch <- d.refused }

// Collect implements prometheus.Collector: all doors, of which this one counts itself.
func (d *doors) Collect(ch chan<- prometheus.Metric) {
	send := func(n uint64, door, reason string) {
		ch <- prometheus.MustNewConstMetric(d.refused, prometheus.CounterValue, float64(n), door, reason)
	}
	d.mu.Lock()
	for reason, n := range d.shut {
		send(n, "api", reason)
	}
	d.mu.Unlock()
	s := d.src.Status(context.Background())
	for _, r := range s.Gossip.Refused {
		send(r.Count, "gossip", r.Reason)
	}
	for reason, n := range s.NATS.Refused {
		send(n, "nats", reason)
	}
}

// turn counts somebody who is turned away.
func (d *doors) turn(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut[reason]++
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
			d.shut[tooMany]++
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
		whole, in := d.open[c]
		switch {
		case in && !whole:
			d.shut[unfinished]++
		case in && failed(c):
			d.shut[noTLS]++
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

// heeded is a listener whose connections know whether anything was read of them.
type heeded struct{ net.Listener }

// Accept implements net.Listener.
func (l heeded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &heard{Conn: c}, nil
}

type heard struct {
	net.Conn
	said atomic.Bool
}

// Read implements net.Conn.
func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.said.Store(true)
	}
	return n, err
}

// failed reports whether a connection was to become one of TLS, and has not. One that
// never says anything is no news.
func failed(c net.Conn) bool {
	over, ok := c.(*tls.Conn)
	if !ok || over.ConnectionState().HandshakeComplete {
		return false
	}
	h, ok := over.NetConn().(*heard)
	return ok && h.said.Load()
}

// watch counts what next answers.
func (d *doors) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			d.whole(c)
		}
		counted := &answer{ResponseWriter: w, code: http.StatusOK}
		// The router notes the route in the request itself. What panics is counted too.
		defer func() {
			d.requests.WithLabelValues(r.Pattern, strconv.Itoa(counted.code)).Inc()
			if reason, no := counted.refusal(); no {
				d.turn(reason)
			}
		}()
		next.ServeHTTP(counted, r)
	})
}

// answer remembers the code of an answer, and that of the problem that it tells of.
type answer struct {
	http.ResponseWriter
	code int
	why  string
}

// refusal is why the answer is a no at the door: what is asked for in a wrong way, by
// nobody who may, or is not there. A no of the agent itself is none.
func (a *answer) refusal() (reason string, no bool) {
	switch a.code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusTemporaryRedirect, http.StatusRequestEntityTooLarge:
	case http.StatusServiceUnavailable:
		return a.why, a.why == "token_unreadable" || a.why == "too_many_streams"
	default:
		return "", false
	}
	if a.why == "" {
		a.why = map[int]string{
			http.StatusNotFound: "not_found", http.StatusMethodNotAllowed: "method", http.StatusTemporaryRedirect: "path",
		}[a.code]
	}
	return a.why, a.why != ""
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
