package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/compare"
	"healer/postgres"
	"healer/rescue"
	"healer/topology"
)

// gapRows is the gap of a lost node that no slot covers, to be carried as rows.
type gapRows struct {
	*mesh
	// holder has all that any survivor has of the node, up to upTo.
	holder string
	upTo   topology.LSN
	// behind are the laggards with their subscriptions to the node.
	behind map[string]topology.Subscription
	// deleted is nil when it is not known when the gap began.
	deleted *rescue.Deletion
	// unstamped is why the rows of the holder may lose to older ones; nil when they do
	// not.
	unstamped error
	done      bool
	// held are the laggards' apply sessions: they have the lock against recoveries,
	// and the origin whose progress moves in the end.
	held map[string]*rescue.Session
}

// gapRows finds out who lacks what. All survivors must be fenced off from the node,
// so that what they have of it stands still.
func (m *mesh) gapRows(ctx context.Context, origin string) (*gapRows, error) {
	g := &gapRows{mesh: m, behind: map[string]topology.Subscription{}, held: map[string]*rescue.Session{}}
	m.origin = origin
	for _, name := range m.nodes {
		n, _ := m.seen.Node(name)
		sub, ok := n.From(origin)
		if _, fenced := n.FenceOf(origin); !ok || !fenced || sub.Enabled || sub.Worker != topology.WorkerNone {
			return nil, &topology.Fault{
				Class: topology.Transient, Code: "not_fenced", Node: name,
				Hint: "let an agent run: it fences the survivors off from a lost node; see healer status",
				Err:  fmt.Errorf("%s is not fenced off from %s: what it has of it may change", name, origin),
			}
		}
		g.behind[name] = sub
		if sub.Progress > g.upTo {
			g.holder, g.upTo = name, sub.Progress
		}
	}
	var since time.Time
	known := true
	for name, sub := range g.behind {
		if sub.Progress == g.upTo {
			if mark, open := m.gapOf(name, origin); !open || mark.To != g.upTo {
				delete(g.behind, name)
				continue
			}
		}
		last, err := m.Engine.LastCommit(ctx, name, sub)
		if err != nil {
			return nil, err
		}
		known = known && !last.IsZero()
		if since.IsZero() || last.Before(since) {
			since = last
		}
	}
	if known && len(g.behind) > 0 {
		// The gap begins behind the last transaction that the last of them has.
		g.deleted = &rescue.Deletion{Holder: g.holder, Author: origin, At: since.Add(time.Microsecond)}
		n, _ := m.seen.Node(g.holder)
		sub, _ := n.From(origin)
		stamped, err := m.Engine.Stamped(ctx, g.holder, sub, since)
		if err != nil {
			return nil, err
		}
		if !stamped {
			g.unstamped = rescue.Unstamped(g.holder, origin, since,
				"--dry-run lists the rows; rebuild from "+g.holder+" who lacks them: healer node rebuild "+strings.Join(slices.Sorted(maps.Keys(g.behind)), ", then "))
		}
	}
	return g, nil
}

func (m *mesh) gapOf(node, origin string) (topology.GapMark, bool) {
	n, _ := m.seen.Node(node)
	return n.GapOf(origin)
}

// begin marks the gap, as a recovery does: until it is ended, the node is not taken
// back.
func (g *gapRows) begin(ctx context.Context, dry bool) error {
	if dry || g.unstamped != nil {
		return g.refused(dry)
	}
	for name, sub := range g.behind {
		if err := g.hold(ctx, name, sub); err != nil {
			return err
		}
		if _, err := g.Engine.MarkGap(ctx, name, g.origin, sub.Progress, g.upTo); err != nil {
			return err
		}
	}
	return nil
}

// refused is why nothing may be repaired; a dry run says it in its notes.
func (g *gapRows) refused(dry bool) error {
	if dry {
		return nil
	}
	return g.unstamped
}

// hold takes the apply session of a laggard, as a recovery does: of the two one finds
// the other there.
func (g *gapRows) hold(ctx context.Context, name string, sub topology.Subscription) error {
	conn, err := g.Servers[name].Session(ctx)
	if err != nil {
		return postgres.Wrap(name, err)
	}
	s, err := rescue.NewSession(ctx, conn, rescue.Target{Node: name, Origin: g.origin, OriginName: sub.Origin})
	if err != nil {
		return postgres.Wrap(name, err)
	}
	g.held[name] = s
	return nil
}

// letGo ends the sessions, and with them the locks.
func (g *gapRows) letGo(ctx context.Context) {
	for _, s := range g.held {
		_ = s.Close(context.WithoutCancel(ctx))
	}
}

// end sets what the laggards have of the node, now that their rows are those of
// the holder, and removes the marks.
func (g *gapRows) end(ctx context.Context, dry bool) error {
	if dry {
		return nil
	}
	for name, s := range g.held {
		if err := s.Reach(ctx, g.upTo); err != nil {
			return postgres.Wrap(name, err)
		}
		if err := g.Engine.UnmarkGap(ctx, name, g.origin, g.upTo); err != nil {
			return err
		}
	}
	g.done = true
	return nil
}

// notes say plainly what was carried, and what was not.
func (g *gapRows) notes(report compare.Report) []string {
	if len(g.behind) == 0 {
		return []string{"no survivor lacks anything of " + g.origin + " that another has"}
	}
	var names []string
	for name := range g.behind {
		names = append(names, name)
	}
	slices.Sort(names)
	ofOrigin, gone := report.LastBy(g.origin)
	out := []string{
		fmt.Sprintf("ROWS, NOT TRANSACTIONS: %s got from %s the rows as they are there, of the listed %d that %s wrote last and %d that it deleted; "+
			"states in between, and the order and the bounds of its transactions, are lost", strings.Join(names, ", "), g.holder, ofOrigin, g.origin, gone),
	}
	if g.deleted == nil {
		out = append(out, "when the gap began is not known any more: rows that "+g.holder+" lacks were put back, although "+g.origin+" may have deleted them")
	}
	if n := report.Unstamped(g.holder); n > 0 {
		out = append(out, fmt.Sprintf("of the listed rows %s has %d without a commit timestamp: who wrote them last there, and when, is not known any more, and they lose to any version of another node that has one", g.holder, n))
	}
	if g.unstamped != nil {
		out = append(out, "NOT TO BE REPAIRED LIKE THIS: "+g.unstamped.Error())
	}
	if g.done {
		out = append(out, fmt.Sprintf("%s count as having all of %s up to %s", strings.Join(names, ", "), g.origin, g.upTo))
	} else {
		out = append(out, "their progress stays where it was")
	}
	return out
}
