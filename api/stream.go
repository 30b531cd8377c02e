package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"healer/events"
)

// keepAlive is how often a stream says that it is still there. It is shorter
// than the idle limits of usual proxies.
const keepAlive = 15 * time.Second

// stream serves events as server-sent events: the kind as the event's name,
// its id as the id, the CloudEvents JSON as the data.
func stream(src EventSource, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		feed, err := src.Events(r.Context())
		if err != nil {
			plain(w, http.StatusServiceUnavailable, "no events: "+err.Error()+"\n")
			return
		}
		s := sse{w: w, rc: http.NewResponseController(w)}
		head(w, http.StatusOK, "text/event-stream")
		if err := s.comment("connected"); err != nil {
			return
		}
		if err := s.run(r, feed); err != nil {
			log.Debug("event stream ended", "remote", r.RemoteAddr, "error", err)
		}
	})
}

// sse writes one stream.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s sse) run(r *http.Request, feed <-chan events.Event) error {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-tick.C:
			if err := s.comment("still here"); err != nil {
				return err
			}
		case e, ok := <-feed:
			if !ok {
				return s.comment("the bus is lost")
			}
			if err := s.event(e); err != nil {
				return err
			}
		}
	}
}

// event writes one event. Its JSON is one line, so it is one data field.
func (s sse) event(e events.Event) error {
	b, err := e.Encode()
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return s.send("event: %s\nid: %s\ndata: %s\n\n", e.Kind(), e.ID, b)
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
