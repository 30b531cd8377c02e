package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"healer/events"
)

const (
	// keepAlive is how often a stream says that it is still there. It is shorter
	// than the idle limits of usual proxies.
	keepAlive = 15 * time.Second
	// maxStreams bounds how many readers of events there are at a time: each has a
	// subscription of its own.
	maxStreams = 64
	// overlap is how far before the last event that a reader knows a stream begins
	// again: what was told earlier may have been stored later.
	overlap = time.Minute
	// maxPatterns bounds ?kinds.
	maxPatterns = 16
)

// streams serves events as server-sent events: the kind as the event's name, its
// time and its id as the id, the CloudEvents JSON as the data.
type streams struct {
	src  EventSource
	log  *slog.Logger
	open chan struct{}
	// alive is how long a stream may be silent.
	alive time.Duration
}

func newStreams(o Options) *streams {
	s := &streams{src: o.Events, log: o.Log, open: make(chan struct{}, maxStreams), alive: keepAlive}
	if o.KeepAlive > 0 {
		s.alive = o.KeepAlive
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	want, err := wanted(r, time.Now())
	if err != nil {
		problem(w, http.StatusBadRequest, "bad_request", err.Error(), "see /openapi.yaml for what a stream can be asked for")
		return
	}
	select {
	case s.open <- struct{}{}:
		defer func() { <-s.open }()
	default:
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, "too_many_streams", fmt.Sprintf("%d readers of events are there already", maxStreams),
			"read from another agent: all have the same events")
		return
	}
	feed, err := s.src.Events(r.Context(), want.filter)
	if err != nil {
		problem(w, http.StatusServiceUnavailable, "no_events", "no events: "+err.Error(), "see `healer status` for what NATS lacks")
		return
	}
	out := sse{w: w, rc: http.NewResponseController(w)}
	head(w, http.StatusOK, "text/event-stream")
	if err := out.comment("connected"); err != nil {
		return
	}
	if err := s.run(r, out, want, feed); err != nil {
		s.log.Debug("event stream ended", "remote", r.RemoteAddr, "error", err)
	}
}

func (s *streams) run(r *http.Request, out sse, want request, feed <-chan events.Event) error {
	tick := time.NewTicker(s.alive)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-tick.C:
			if err := out.comment("still here"); err != nil {
				return err
			}
		case e, ok := <-feed:
			if !ok {
				return out.comment("the bus is lost")
			}
			if !want.selects(e) {
				continue
			}
			if err := out.event(e); err != nil {
				return err
			}
		}
	}
}

// request is what a reader of events asks for.
type request struct {
	filter events.Filter
	// any are the patterns of kinds, when there are several.
	any []events.Filter
	// known is the id of the last event that the reader has.
	known string
}

// wanted reads ?kinds, ?from and Last-Event-ID; the last counts for more than ?from,
// as a browser that comes back still asks for what it asked at first.
func wanted(r *http.Request, now time.Time) (request, error) {
	var out request
	q := r.URL.Query()
	var patterns []string
	for _, list := range q["kinds"] {
		patterns = append(patterns, strings.Split(list, ",")...)
	}
	if len(patterns) > maxPatterns {
		return out, fmt.Errorf("kinds: %d patterns: at most %d are allowed", len(patterns), maxPatterns)
	}
	for _, p := range patterns {
		f := events.Filter{Kinds: p}
		if p == "" {
			return out, fmt.Errorf("kinds %q: a pattern is empty", strings.Join(patterns, ","))
		}
		if err := f.Check(); err != nil {
			return out, fmt.Errorf("kinds: %w", err)
		}
		out.any = append(out.any, f)
		if f.Matches(events.JournalEntry) {
			out.filter.Kinds = ">" // which is left out unless it is asked for
		}
	}
	if len(out.any) == 1 {
		out.filter, out.any = out.any[0], nil
	}
	var err error
	if out.filter.From, err = events.ParseFrom(q.Get("from"), now); err != nil {
		return out, fmt.Errorf("from: %w", err)
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		at, id, ok := strings.Cut(last, "/")
		then, err := time.Parse(time.RFC3339, at)
		if !ok || err != nil {
			return out, fmt.Errorf("the Last-Event-ID %q is none of this stream: send one as it came, or none", last)
		}
		out.known, out.filter.From = id, events.FromTime(then.Add(-overlap))
	}
	return out, nil
}

// selects reports whether the reader wants the event and lacks it.
func (r request) selects(e events.Event) bool {
	if e.ID == r.known {
		return false
	}
	for _, f := range r.any {
		if f.Matches(e.Kind()) {
			return true
		}
	}
	return len(r.any) == 0
}

// sse writes one stream.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// event writes one event. Its JSON is one line, so it is one data field.
func (s sse) event(e events.Event) error {
	b, err := e.Encode()
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return s.send("event: %s\nid: %s/%s\ndata: %s\n\n", e.Kind(), e.Time.UTC().Format(time.RFC3339Nano), e.ID, b)
}

func (s sse) comment(text string) error { return s.send(": %s\n\n", text) }

// send writes and flushes. Each write has its own time limit, because the
// server's would end every stream.
func (s sse) send(format string, args ...any) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.rc.Flush()
}
