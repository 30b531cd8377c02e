package eventstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"healer/events"
)

// Recorder is an events.Publisher and events.Subscriber in memory. The zero
// Recorder is ready to use, by any number of goroutines.
type Recorder struct {
	mu     sync.Mutex
	kept   []entry
	ids    map[string]bool
	fail   error
	change chan struct{}
}

// entry is an event and the time at which it was kept.
type entry struct {
	at    time.Time
	event events.Event
}

// Publish keeps e, unless an event of its id is kept already. It refuses what
// the real bus refuses: an event that Decode would not read.
func (r *Recorder) Publish(e events.Event) error {
	b, err := e.Encode()
	if err != nil {
		return err
	}
	if len(b) > events.MaxBytes {
		return fmt.Errorf("event %s is %d bytes: at most %d are allowed", e.Kind(), len(b), events.MaxBytes)
	}
	if e, err = events.Decode(b); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if r.ids[e.ID] {
		return nil
	}
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	r.ids[e.ID] = true
	r.kept = append(r.kept, entry{time.Now(), e})
	if r.change != nil {
		close(r.change)
		r.change = nil
	}
	return nil
}

// Fail makes Publish return err and keep nothing, until Fail(nil).
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Events returns what is kept, oldest first.
func (r *Recorder) Events() []events.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list()
}

// list copies the kept events. The lock is held.
func (r *Recorder) list() []events.Event {
	all := make([]events.Event, len(r.kept))
	for i, k := range r.kept {
		all[i] = k.event
	}
	return all
}

// ByKind returns the kept events of one kind, oldest first.
func (r *Recorder) ByKind(k events.Kind) []events.Event {
	return slices.DeleteFunc(r.Events(), func(e events.Event) bool { return e.Kind() != k })
}

// Wait returns when done holds for the kept events. When ctx ends before that,
// the error says which kinds are there.
func (r *Recorder) Wait(ctx context.Context, done func([]events.Event) bool) error {
	for {
		r.mu.Lock()
		all, changed := r.list(), r.changed()
		r.mu.Unlock()
		if done(all) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			kinds := make([]events.Kind, len(all))
			for i, e := range all {
				kinds[i] = e.Kind()
			}
			return fmt.Errorf("waited for events, there are %v: %w", kinds, context.Cause(ctx))
		}
	}
}

// WaitKind returns the first event of a kind, waiting for it until ctx ends.
func (r *Recorder) WaitKind(ctx context.Context, k events.Kind) (events.Event, error) {
	is := func(e events.Event) bool { return e.Kind() == k }
	err := r.Wait(ctx, func(all []events.Event) bool { return slices.ContainsFunc(all, is) })
	if err != nil {
		return events.Event{}, fmt.Errorf("no %s: %w", k, err)
	}
	return r.ByKind(k)[0], nil
}

// changed returns a channel that is closed when the next event is kept. The
// lock is held.
func (r *Recorder) changed() <-chan struct{} {
	if r.change == nil {
		r.change = make(chan struct{})
	}
	return r.change
}

// Subscribe implements events.Subscriber.
func (r *Recorder) Subscribe(ctx context.Context, f events.Filter, handle func(events.Event)) (func(), error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("no handler")
	}
	r.mu.Lock()
	next := len(r.kept)
	if since, replay := f.From.Replay(); replay {
		next = 0
		for next < len(r.kept) && r.kept[next].at.Before(since) {
			next++
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.deliver(ctx, f, next, handle)
	}()
	return func() { cancel(); <-ended }, nil
}

// deliver hands over the events from index next on, until ctx ends.
func (r *Recorder) deliver(ctx context.Context, f events.Filter, next int, handle func(events.Event)) {
	for {
		r.mu.Lock()
		fresh, changed := r.list()[next:], r.changed()
		r.mu.Unlock()
		for _, e := range fresh {
			next++
			if ctx.Err() != nil {
				return
			}
			if f.Matches(e.Kind()) {
				handle(e)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
