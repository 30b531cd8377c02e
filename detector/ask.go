package detector

import (
	"context"
	"errors"
	"sync"
	"time"
)

// askAgain is how soon a member is asked again whose answer may be from before the
// node ended; twice as long each time.
const askAgain = 10 * time.Millisecond

// asking notes which members are being asked, and when they were.
type asking struct {
	mu sync.Mutex
	of map[string]*asked
}

type asked struct {
	at    time.Time
	tries int
	now   bool // the last one has not ended yet
}

// begin reports whether it is time to ask the member, and notes that it is being
// asked: once every interval, and at first more often for an answer that may be from
// before the node ended. Its agent may be ending at this moment, and a process that
// ends still takes connections. again is how soon it is to be asked then, else zero.
func (a *asking) begin(doubt Doubt, now time.Time, every time.Duration) (again time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.of[doubt.Member]
	if last == nil || now.Sub(last.at) >= 2*every {
		last = &asked{at: now.Add(-every), now: last != nil && last.now}
	}
	if last.now {
		return 0, false
	}
	wait := every
	if !doubt.At.IsZero() {
		again = min(every, askAgain<<min(last.tries, 10))
		wait = again / 2
	}
	if now.Sub(last.at) < wait {
		return 0, false
	}
	last.at, last.tries, last.now = now, last.tries+1, true
	if a.of == nil {
		a.of = map[string]*asked{}
	}
	a.of[doubt.Member] = last
	return again, true
}

// end notes that the member was asked.
func (a *asking) end(member string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[member].now = false
}

// ask tells a member what this agent has found, over a connection. The member
// looks again and answers at once if its own answer still holds; and when its
// host says that no agent is there any more, nobody needs to wait for it.
func (d *Detector) ask(ctx context.Context, doubt Doubt) {
	began := d.opts.Now()
	again, ok := d.asking.begin(doubt, began, d.opts.Timing.ProbeInterval)
	if !ok {
		return
	}
	d.mu.Lock()
	own := d.judge.Own(began)
	d.mu.Unlock()
	d.done.Go(func() {
		err := d.tell(ctx, doubt.Member, own)
		d.asking.end(doubt.Member)
		switch {
		case errors.Is(err, ErrAgentGone):
			d.mu.Lock()
			d.judge.AgentGone(doubt.Member, began)
			d.mu.Unlock()
			d.poke()
		case again > 0:
			select {
			case <-time.After(again):
				d.poke()
			case <-ctx.Done():
			}
		}
	})
}

func (d *Detector) tell(ctx context.Context, member string, own []Evidence) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timing.ProbeTimeout)
	defer cancel()
	return d.opts.Gossip.Tell(ctx, member, own)
}
