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

// may reports whether it is time to ask the member, and notes that it is being
// asked: once every interval, and once more for an answer that came only after it
// was asked and may still be from before.
func (a *asking) may(doubt Doubt, now time.Time, every time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.last[doubt.Member]; ok && now.Sub(last) < every && doubt.At.Before(last) {
		return false
	}
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[doubt.Member] = now
	return true
}

// ask tells a member what this agent has found, over a connection. The member
// looks again and answers at once if its own answer still holds; and when its
// host says that no agent is there any more, nobody needs to wait for it.
func (d *Detector) ask(ctx context.Context, doubt Doubt) {
	began := d.opts.Now()
	if !d.asking.may(doubt, began, d.opts.Timing.ProbeInterval) {
		return
	}
	d.mu.Lock()
	own := d.judge.Own(began)
	d.mu.Unlock()
	d.done.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, d.opts.Timing.ProbeTimeout)
		defer cancel()
		err := d.opts.Gossip.Tell(ctx, doubt.Member, own)
		if !errors.Is(err, ErrAgentGone) {
			return
		}
		d.mu.Lock()
		d.judge.AgentGone(doubt.Member, began)
		d.mu.Unlock()
		d.poke()
	})
}
