package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"healer/executor"
)

const (
	// waiting is how many runs wait for a slow collector; more are dropped.
	waiting = 64
	// patience is for how long a collector is tried with one run.
	patience = 30 * time.Second
	// perTry bounds one request.
	perTry = 5 * time.Second
)

// Options are what a Tracer is made of.
type Options struct {
	Settings
	// Cluster and Version go with every span.
	Cluster, Version string
	Log              *slog.Logger
}

// Tracer sends the runs that it is told of. It is an executor.Recorder.
type Tracer struct {
	opts   Options
	client *http.Client

	mu     sync.Mutex
	runs   map[string][]executor.Entry
	closed bool

	queue  chan []executor.Entry
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Start makes a Tracer that sends until Stop. Nil when no endpoint is set: a nil
// Tracer takes everything and sends nothing.
func Start(ctx context.Context, o Options) *Tracer {
	if o.URL == "" {
		return nil
	}
	t := &Tracer{
		opts: o, client: &http.Client{Timeout: perTry}, runs: map[string][]executor.Entry{}, queue: make(chan []executor.Entry, waiting),
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.done.Go(func() { t.sendAll(ctx) })
	return t
}

// Record implements executor.Recorder. It never waits and never fails.
func (t *Tracer) Record(entries ...executor.Entry) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	for _, e := range entries {
		t.runs[e.Run] = append(t.runs[e.Run], e)
		if e.Event != executor.EntryEnd {
			continue
		}
		select {
		case t.queue <- t.runs[e.Run]:
		default:
			t.opts.Log.Warn("the spans of a run are dropped: the collector of traces is too slow", "run", e.Run, "recovery", e.Recovery)
		}
		delete(t.runs, e.Run)
	}
	return nil
}

// Stop sends what waits, until ctx ends, and ends the Tracer.
func (t *Tracer) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.queue)
	}
	t.mu.Unlock()
	defer t.cancel()
	stop := context.AfterFunc(ctx, t.cancel)
	defer stop()
	t.done.Wait()
	return nil
}

func (t *Tracer) sendAll(ctx context.Context) {
	for entries := range t.queue {
		spans := spansOf(entries)
		if len(spans) < 2 {
			continue // it has only looked
		}
		if err := t.send(ctx, spans); err != nil {
			t.opts.Log.Warn("the spans of a run are dropped: the collector of traces does not take them",
				"run", entries[0].Run, "recovery", entries[0].Recovery, "error", err)
		}
	}
}

func (t *Tracer) send(ctx context.Context, spans []span) error {
	body, err := json.Marshal(request{[]resourceSpans{{
		Resource: resource{[]attribute{
			text("service.name", t.opts.Service), text("service.version", t.opts.Version), text("healer.cluster", t.opts.Cluster),
		}},
		ScopeSpans: []scopeSpans{{Scope: scope{"healer", t.opts.Version}, Spans: spans}},
	}}})
	if err != nil {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, t.post(ctx, body) },
		backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(patience))
	return err
}

// post sends once. What the specification does not name as worth another try is
// permanent.
func (t *Tracer) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.opts.URL, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header = t.opts.Headers.Clone()
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()                                      //nolint:errcheck // the status is what counts
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection is kept
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
			return backoff.RetryAfter(s)
		}
		return fmt.Errorf("it answers %s", resp.Status)
	}
	if resp.StatusCode/100 != 2 {
		return backoff.Permanent(fmt.Errorf("it answers %s", resp.Status))
	}
	return nil
}
