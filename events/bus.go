package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Publisher takes events off the hands of whoever has one. Publish never waits
// for a broker: it returns an error only when the event could not even be kept
// for later. An event whose id was published before is the same event: it is
// not an error and makes no second one.
type Publisher interface {
	Publish(e Event) error
}

// Subscriber hands events to whoever wants them.
type Subscriber interface {
	// Subscribe calls handle with each event that f selects, one at a time,
	// no id twice. When it returns without an error the subscription is in
	// force: what is published from then on reaches handle. It ends when ctx
	// ends or stop is called; stop returns when handle will not be called
	// any more, so handle must not call it.
	Subscribe(ctx context.Context, f Filter, handle func(Event)) (stop func(), err error)
}

// Filter selects events. The zero Filter selects all that happen from now on.
type Filter struct {
	// Kinds is a pattern over kinds: its tokens are words, "*" for any one
	// token, or ">" at the end for one or more of them, such as "recovery.*"
	// or "*.failed". Empty means all kinds but JournalEntry.
	Kinds string
	// From is where to begin.
	From From
	// InOrder asks for the order of the stream. Without it an event is
	// delivered when it is first sighted, be that ahead of older ones which
	// the stream delivers only when it has a leader again.
	InOrder bool
}

// From is where in the history a subscription begins. The zero From is FromNow.
type From struct {
	replay bool
	at     time.Time
}

// FromNow begins with the next event that is sent or stored. An event that was
// published before but could not be stored until now is one of them.
func FromNow() From { return From{} }

// FromStart begins with the oldest event that is kept.
func FromStart() From { return From{replay: true} }

// FromTime begins with the first event that was stored at t or later.
func FromTime(t time.Time) From { return From{replay: true, at: t} }

// Replay reports whether history is wanted, and from which time on: the zero
// time means from its start.
func (f From) Replay() (time.Time, bool) { return f.at, f.replay }

// Pattern returns the pattern of kinds, ">" when Kinds is empty.
func (f Filter) Pattern() string {
	if f.Kinds == "" {
		return ">"
	}
	return f.Kinds
}

// Check refuses a pattern that can match nothing or that is no pattern.
func (f Filter) Check() error {
	tokens := strings.Split(f.Pattern(), ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return fmt.Errorf("pattern %q of event kinds has an empty token", f.Kinds)
		case t == ">" && i != len(tokens)-1:
			return fmt.Errorf("pattern %q of event kinds has > before its end", f.Kinds)
		case t != "*" && t != ">" && !isToken(t):
			return fmt.Errorf("pattern %q of event kinds: %q is no token (a-z, 0-9, - and _)", f.Kinds, t)
		}
	}
	for k := range severities() {
		if f.Matches(k) {
			return nil
		}
	}
	return fmt.Errorf("pattern %q matches no kind of event", f.Kinds)
}

// Matches reports whether the pattern selects the kind.
func (f Filter) Matches(k Kind) bool {
	if f.Kinds == "" && k == JournalEntry {
		return false
	}
	want, have := strings.Split(f.Pattern(), "."), strings.Split(string(k), ".")
	for i, w := range want {
		if w == ">" {
			return len(have) > i
		}
		if i >= len(have) || w != "*" && w != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}

// isToken reports whether s may stand between the dots of a subject.
func isToken(s string) bool {
	for _, r := range s {
		if r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}

// CheckCluster refuses a name of a cluster that cannot be a token of a subject
// and part of a stream's name: letters, digits, - and _, at most 48 of them.
func CheckCluster(name string) error {
	if !isToken(name) {
		return fmt.Errorf("cluster name %q: only letters, digits, - and _ are allowed", name)
	}
	if len(name) > 48 {
		return fmt.Errorf("cluster name %q is longer than 48 characters", name)
	}
	return nil
}

// Seq yields the events that f selects until ctx ends or the loop is left. The
// subscription is made when the iteration begins. An error is yielded once, as
// the last thing.
func Seq(ctx context.Context, s Subscriber, f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ch := make(chan Event)
		stop, err := s.Subscribe(ctx, f, func(e Event) {
			select {
			case ch <- e:
			case <-ctx.Done():
			}
		})
		if err != nil {
			cancel()
			yield(Event{}, err)
			return
		}
		// In this order: the handler gives up before stop waits for it.
		defer stop()
		defer cancel()
		for {
			select {
			case e := <-ch:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
					yield(Event{}, err)
				}
				return
			}
		}
	}
}
