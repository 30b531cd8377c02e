package gossip

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Conflict is two agents under one name. memberlist tells of it on third members
// only, so those tell the two.
type Conflict struct {
	Name string `json:"name"`
	// Holder keeps the name, Refused is not heard under it.
	Holder  Instance `json:"holder"`
	Refused Instance `json:"refused"`
}

// conflictRepeat is the time after which one and the same conflict is told again.
const conflictRepeat = 10 * time.Second

// conflicts is what this agent knows of names that are used twice.
type conflicts struct {
	self Instance
	name string
	// after is how long an agent has to be one of the members before only an
	// older one takes its name from it.
	after time.Duration

	mu sync.Mutex
	// joined is when this agent first met another; zero until then.
	joined time.Time
	told   map[string]time.Time
	// tell has conflicts between others that are to be told to them.
	tell chan Conflict
	// lost is the conflict in which this agent is the one refused; last the
	// latest one in which it kept its name, at when.
	lost, last *Conflict
	at         time.Time
}

func newConflicts(name string, self Instance, after time.Duration) *conflicts {
	return &conflicts{name: name, self: self, after: after, told: map[string]time.Time{}, tell: make(chan Conflict, 16)}
}

// saw notes a conflict between others, or with this agent, which a sign of life
// has brought up. It never blocks.
func (c *conflicts) saw(k Conflict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.told[k.Refused.ID]) < conflictRepeat {
		return
	}
	if k.Name == c.name && (c.joined.IsZero() || now.Sub(c.joined) < c.after) {
		return // which of the two is the second is for the others to say
	}
	select {
	case c.tell <- k:
	default:
		return // the next sign of life brings it up again
	}
	for id, at := range c.told {
		if now.Sub(at) >= conflictRepeat {
			delete(c.told, id)
		}
	}
	c.told[k.Refused.ID] = now
}

// heard takes a conflict that another member tells of. It returns the conflict as
// this agent decides it, and false when it is none of its business or no news.
func (c *conflicts) heard(k Conflict) (Conflict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case k.Name != c.name || c.lost != nil:
		return k, false
	case k.Refused.ID == c.self.ID:
		// Two that were let in on two sides of a partition: the older stays.
		in := !c.joined.IsZero() && now.Sub(c.joined) >= c.after
		if in && !k.Holder.Since.Before(c.self.Since) {
			k.Holder, k.Refused = k.Refused, k.Holder
			break
		}
		c.lost = &k
		return k, true
	case k.Holder.ID != c.self.ID:
		return k, false // an earlier life of this agent
	}
	news := c.last == nil || c.last.Refused.ID != k.Refused.ID || now.Sub(c.at) >= conflictRepeat
	c.last, c.at = &k, now
	return k, news
}

// met notes that this agent is among others.
func (c *conflicts) met() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined.IsZero() {
		c.joined = time.Now()
	}
}

// refused returns the conflict that cost this agent its name, or nil.
func (c *conflicts) refused() *Conflict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// kept returns the latest conflict in which this agent kept its name, and when it
// last heard of it; nil when there was none.
func (c *conflicts) kept() (*Conflict, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.at
}

// tellConflicts tells the two agents of a conflict about each other, the holder
// first: one that cannot be reached holds nothing, and then the other may stay.
func (g *Gossip) tellConflicts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-g.conflicts.tell:
			b, err := encode(message{From: g.cfg.Self, ID: g.roster.self.ID, Conflict: &k})
			if err != nil {
				continue
			}
			if k.Holder.ID == g.roster.self.ID {
				g.learn(k)
			} else if err := g.sendReliable(memberlist.Address{Name: k.Name, Addr: k.Holder.Addr}, b); err != nil {
				continue
			}
			if err := g.sendReliable(memberlist.Address{Name: k.Name, Addr: k.Refused.Addr}, b); err != nil {
				g.log.Debug("an agent was not told that its name is in use", "name", k.Name, "addr", k.Refused.Addr, "error", err)
			}
		}
	}
}

// learn takes a conflict and, if it is news, tells the log and the agent. It is
// called by memberlist's own goroutines and does not wait for the agent.
func (g *Gossip) learn(k Conflict) {
	k, news := g.conflicts.heard(k)
	if !news {
		return
	}
	if k.Refused.ID == g.roster.self.ID {
		g.log.Error("another agent holds the name of this one: it takes no part", "name", k.Name, "holder", k.Holder.Addr, "since", k.Holder.Since)
	} else {
		g.log.Error("a second agent uses the name of this one: it is refused", "name", k.Name, "second", k.Refused.Addr, "since", k.Refused.Since)
	}
	if g.cfg.OnConflict != nil {
		g.done.Go(func() { g.cfg.OnConflict(k) })
	}
}
