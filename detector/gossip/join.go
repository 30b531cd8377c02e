package gossip

import (
	"context"
	"time"

	"github.com/hashicorp/memberlist"
)

// join asks every configured member that is missing to join, until ctx ends.
// memberlist itself gives up on a member it holds for dead, so without this two
// halves of a partition would never find each other again.
func (g *Gossip) join(ctx context.Context) {
	tick := time.NewTicker(g.cfg.JoinInterval)
	defer tick.Stop()
	for {
		for _, m := range g.missing() {
			if ctx.Err() != nil {
				return
			}
			g.joinOne(ctx, m)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// missing are the configured members that memberlist does not hold for alive.
func (g *Gossip) missing() []Member {
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
	ctx, cancel := context.WithTimeout(ctx, g.cfg.StreamTimeout)
	defer cancel()
	a, err := resolve(ctx, m.Addr)
	if err != nil {
		g.log.Debug("member cannot be found", "member", m.Name, "error", err)
		return
	}
	g.mu.Lock()
	g.addrs[m.Name] = a
	g.mu.Unlock()
	address := memberlist.Address{Addr: a.String(), Name: m.Name}
	if _, err := g.list.Join([]string{address.Name + "/" + address.Addr}); err != nil {
		g.log.Debug("member does not join", "member", m.Name, "error", err)
	}
}
