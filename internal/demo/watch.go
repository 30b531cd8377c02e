package demo

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"healer/events"
)

// sighting is an event with the time of its arrival here.
type sighting struct {
	event events.Event
	at    time.Time
}

// watcher remembers the events that arrived, and lets the scenario wait for
// them.
type watcher struct {
	mu     sync.Mutex
	seen   []sighting
	counts map[events.Kind]int
	more   chan struct{} // closed and replaced at each arrival
}

func newWatcher() *watcher {
	return &watcher{counts: map[events.Kind]int{}, more: make(chan struct{})}
}

func (w *watcher) arrived(e events.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, sighting{e, time.Now()})
	w.counts[e.Kind()]++
	close(w.more)
	w.more = make(chan struct{})
}

// count is the number of events by kind.
func (w *watcher) count() map[events.Kind]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// await returns the first event of that kind about the node that arrived at
// since or later. When ctx ends first, the error says what stood in the way
// according to the events.
func (w *watcher) await(ctx context.Context, since time.Time, kind events.Kind, node string) (sighting, error) {
	for from := 0; ; {
		w.mu.Lock()
		seen, more := w.seen, w.more
		w.mu.Unlock()
		for ; from < len(seen); from++ {
			s := seen[from]
			if s.event.Kind() == kind && s.event.Subject == node && !s.at.Before(since) {
				return s, nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return sighting{}, fmt.Errorf("no %s of %s%s: %w", kind, node, obstacles(seen, since), context.Cause(ctx))
		}
	}
}

// obstacles lists the last refusals and failures, which say why something waited
// for did not come.
func obstacles(seen []sighting, since time.Time) string {
	var said []string
	for _, s := range seen {
		switch s.event.Kind() {
		case events.RecoveryRefused, events.RecoveryFailed, events.RecoveryCancelled:
			if !s.at.Before(since) {
				said = append(said, fmt.Sprintf("%s %s", s.event.Kind(), s.event.Data))
			}
		}
	}
	if len(said) == 0 {
		return ""
	}
	return " (" + strings.Join(said[max(0, len(said)-3):], "; ") + ")"
}
