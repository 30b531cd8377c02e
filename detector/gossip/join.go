package gossip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// maxJoins is how many missing members are asked in one round. One that answers is
// enough for two sides of a partition: each learns from it whom the other has for
// dead, and who is not says so.
const maxJoins = 8

// join asks configured members that are missing to join, until ctx ends.
// memberlist itself gives up on a member it holds for dead, so without this two
// halves of a partition would never find each other again. A round is not waited
// for: a host that swallows packets must not hold up those that came back.
func (g *Gossip) join(ctx context.Context) {
	tick := time.NewTicker(g.cfg.JoinInterval)
	defer tick.Stop()
	var rounds sync.WaitGroup
	defer rounds.Wait()
	var mu sync.Mutex
	asked := map[string]bool{} // members with an attempt under way
	for {
		for _, m := range some(g.missing(), maxJoins) {
			mu.Lock()
			busy := asked[m.Name]
			asked[m.Name] = true
			mu.Unlock()
			if busy {
				continue
			}
			rounds.Go(func() {
				g.joinOne(ctx, m)
				mu.Lock()
				delete(asked, m.Name)
				mu.Unlock()
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// some are at most n of the members, by chance.
func some(ms []Member, n int) []Member {
	if len(ms) <= n {
		return ms
	}
	rand.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] }) //nolint:gosec // chance, no secret
	return ms[:n]
}

// missing are the configured members that memberlist does not hold for alive;
// nobody is missing for an agent that has lost its name.
func (g *Gossip) missing() []Member {
	if g.conflicts.refused() != nil {
		return nil
	}
	alive := map[string]bool{g.cfg.Self: true}
	for _, n := range g.list.Members() {
		alive[n.Name] = true
	}
	var out []Member
	for _, m := range g.cfg.Members {
		if !alive[m.Name] {
			out = append(out, m)
		}
	}
	return out
}

// joinOne looks up a member's address anew, since names may have moved, and
// exchanges states with it. StreamTimeout bounds each of the two.
func (g *Gossip) joinOne(ctx context.Context, m Member) {
	lookup, cancel := context.WithTimeout(ctx, g.cfg.StreamTimeout)
	defer cancel()
	a, err := resolve(lookup, m.Addr)
	if err != nil {
		g.log.Debug("member cannot be found", "member", m.Name, "error", err)
		return
	}
	if ctx.Err() != nil {
		return
	}
	g.roster.found(m.Name, a)
	address := memberlist.Address{Addr: a.String(), Name: m.Name}
	if _, err := g.list.Join([]string{address.Name + "/" + address.Addr}); err != nil {
		g.log.Debug("member does not join", "member", m.Name, "error", err)
	}
}
