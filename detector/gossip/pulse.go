package gossip

import (
	"context"
	"sync"
	"time"
)

// The beat of an agent's own pulse, and how late one may come. A process that was
// stopped, or had no processor, cannot know who failed meanwhile: its timers have
// all run out, and what the others sent is still unread.
const (
	beat     = 100 * time.Millisecond
	lateness = 500 * time.Millisecond
)

// pulse notices pauses of this process and remembers who lived before.
type pulse struct {
	// grace is how long after a pause nobody is missed yet.
	grace time.Duration

	mu      sync.Mutex
	last    time.Time // the last beat
	resumed time.Time // the end of the last pause
	before  []string  // who lived when all was well
}

// run beats until ctx ends; present says who lives as far as anybody can tell.
func (p *pulse) run(ctx context.Context, present func() []string) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		p.beat(time.Now(), present)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *pulse) beat(now time.Time, present func() []string) {
	p.mu.Lock()
	if !p.last.IsZero() && now.Sub(p.last) > lateness {
		p.resumed = now
	}
	p.last = now
	p.mu.Unlock()
	if p.convalescent(now) {
		return
	}
	names := present()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = names
}

// convalescent reports whether the process is in a pause, or has just come out of
// one. The beat that ends a pause may come after others have woken.
func (p *pulse) convalescent(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.last.IsZero() && now.Sub(p.last) > lateness || !p.resumed.IsZero() && now.Sub(p.resumed) < p.grace
}

// missedNot are the members that are not missed yet: those that lived before the
// pause that has just ended.
func (p *pulse) missedNot(now time.Time) []string {
	if !p.convalescent(now) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before
}
