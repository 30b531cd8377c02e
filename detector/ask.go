package detector

import (
	"context"
	"errors"
	"sync"
	"time"
)

// asking notes which members are being asked, or were just now.
type asking struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// may reports whether it is time to ask the member, at most once every interval,
// and notes that it is being asked.
func (a *asking) may(member string, now time.Time, every time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.last[member]; ok && now.Sub(last) < every {
		return false
	}
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[member] = now
	return true
}

// ask tells a member what this agent has found, over a connection. The member
// looks again and answers at once if its own answer still holds; and when its
// host says that no agent is there any more, nobody needs to wait for it.
func (d *Detector) ask(ctx context.Context, member string) {
	began := d.opts.Now()
	if !d.asking.may(member, began, d.opts.Timing.ProbeInterval) {
		return
	}
	d.mu.Lock()
	own := d.judge.Own(began)
	d.mu.Unlock()
	d.done.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, d.opts.Timing.ProbeTimeout)
		defer cancel()
		err := d.opts.Gossip.Tell(ctx, member, own)
		if !errors.Is(err, ErrAgentGone) {
			return
		}
		d.mu.Lock()
		d.judge.AgentGone(member, began)
		d.mu.Unlock()
		d.poke()
	})
}
