package attack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/internal/localpg"
	"healer/planner"
	"healer/topology"
)

// blow is what befalls the mesh inside a step of a recovery.
type blow struct {
	name string
	// ahead is how many survivors have all that was sent; 0: two.
	ahead int
	// victim chooses the server that is killed; nil: the lost one comes back.
	victim func(*loss) string
	// alone: the rest are healed without the victim.
	alone bool
	// back: the victim comes back while the first node stays lost.
	back bool
}

func blows() []blow {
	return []blow{
		{name: "a second node is lost", victim: (*loss).anyone, alone: true},
		{name: "the source is lost", victim: (*loss).source, alone: true, back: true},
		{name: "the only source is lost", ahead: 1, victim: (*loss).source, back: true},
		{name: "a laggard is lost and back", victim: (*loss).laggard, alone: true, back: true},
		{name: "the lost node is back"},
	}
}

// instants are the boundaries of every step that changes something, at which the
// step waits until the blow has fallen, and its inside, where it goes on meanwhile.
func instants() []string {
	var all []string
	for _, k := range steps() {
		for _, at := range []string{"hold before_apply %s", "tell before_apply %s", "hold after_apply %s"} {
			all = append(all, fmt.Sprintf(at, k))
		}
	}
	return all
}

// steps are the kinds of steps at which to strike. Advance is not among them:
// mostly there is nothing to advance, and the moment would not come.
func steps() []planner.StepKind {
	return []planner.StepKind{
		planner.StepFence, planner.StepClone, planner.StepSubscribe, planner.StepVerify, planner.StepRelease,
	}
}

// TestNodesLostInEveryStep kills another server in the steps of a recovery, or lets
// the lost one come back there: the mesh converges all the same, with every
// transaction exactly once everywhere, and nothing is left over.
// HEALER_ATTACK_FULL=1 is for all steps; else each run takes one for each blow.
func TestNodesLostInEveryStep(t *testing.T) {
	c := newCluster(t, 5)
	dice := random(t)
	for _, b := range blows() {
		c.walk(b.name+"/", some(t, dice, instants(), 1), func(c *cluster, at string) { c.struck(dice, b, at) })
	}
	c.walk("a node is refuted between a release and its own fence/", []string{"hold after_apply release"}, func(c *cluster, at string) { c.refuted(dice, at) })
}

// TestNodesLostWithoutMajority is about three nodes, of which only one is left, or
// four, of which two are: they wait for another, and converge with it.
func TestNodesLostWithoutMajority(t *testing.T) {
	c := newCluster(t, nodes(t, 3))
	dice := random(t)
	for _, b := range blows()[1:] {
		b.alone, b.back, b.ahead = false, true, 1
		c.walk(b.name+"/", some(t, dice, instants(), 1), func(c *cluster, at string) { c.struck(dice, b, at) })
	}
}

// loss is one round: a node is lost of which some have more than others.
type loss struct {
	dice          *rand.Rand
	first         string
	ahead, behind []string
	// since are the ends of the logs before.
	since map[string]topology.LSN
	// least is what those who live must have of each lost node in the end.
	least map[string]topology.LSN
}

func (r *loss) anyone() string  { return r.pick(slices.Concat(r.ahead, r.behind)) }
func (r *loss) laggard() string { return r.pick(r.behind) }

// source is the one that the planner prefers of those that have the same.
func (r *loss) source() string { return slices.Min(r.ahead) }

func (r *loss) pick(nodes []string) string { return nodes[r.dice.IntN(len(nodes))] }

// rest are the survivors but one.
func (r *loss) rest(without string) []string {
	return slices.DeleteFunc(slices.Concat(r.ahead, r.behind), func(n string) bool { return n == without })
}

// struck is a round in which the blow falls at that instant.
func (c *cluster) struck(dice *rand.Rand, b blow, at string) {
	c.healthy()
	names := c.m.Names()
	dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if b.ahead == 0 {
		b.ahead = 2
	}
	r := &loss{
		dice: dice, first: names[0], ahead: names[1 : 1+b.ahead], behind: names[1+b.ahead:],
		since: c.ends(), least: map[string]topology.LSN{},
	}
	c.diverge(r)
	c.must(os.WriteFile(c.failpoint, []byte(at), 0o600))
	c.must(c.m.Kill(c.Context(), r.first))
	c.Logf("%s is lost, %v have all, %v have not", r.first, r.ahead, r.behind)
	c.mend(r.first)
	c.await("the step is reached", func() error { _, err := os.Stat(c.met()); return err })
	if b.victim == nil {
		c.must(c.m.Node(r.first).Start(c.Context()))
		c.must(os.Remove(c.met()))
	} else {
		c.second(r, b, strings.HasPrefix(at, "hold"))
	}
	for _, n := range c.m.Names() {
		c.revive(n)
	}
	c.healthy()
	c.nothingLeft()
	c.everywhere(r.since, "t", "u")
}

// refuted is a round in which a second node, which has something of its own that not all
// have, is taken for lost as soon as the first gap counts as closed on one survivor, and
// turns out to live when the first survivor is about to be fenced off from it.
func (c *cluster) refuted(dice *rand.Rand, at string) {
	c.healthy()
	names := c.m.Names()
	dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	r := &loss{dice: dice, first: names[0], ahead: names[1:3], behind: names[3:], since: c.ends(), least: map[string]topology.LSN{}}
	c.diverge(r)
	victim := slices.Max(r.ahead)
	judged := func(failed bool) {
		c.await(fmt.Sprintf("%s is judged lost: %t", victim, failed), func() error {
			for _, n := range r.rest(victim) {
				if life, err := c.life(n, victim); err != nil || (life == api.LifeFailed) != failed {
					return fmt.Errorf("the agent of %s: %s, %w", n, life, err)
				}
			}
			return nil
		})
	}
	met := func() {
		c.await("the step is reached", func() error { _, err := os.Stat(c.met()); return err })
	}
	c.must(os.WriteFile(c.failpoint, []byte(at), 0o600))
	c.must(c.m.Kill(c.Context(), r.first))
	c.Logf("%s is lost, %v have all, %v have not; %s is taken for lost", r.first, r.ahead, r.behind, victim)
	c.mend(r.first)
	met()
	c.divergeOnce(victim, r.rest(victim), r)
	c.must(c.m.Node(victim).Freeze(c.Context()))
	judged(true)
	c.must(os.WriteFile(c.failpoint, []byte("hold before_apply fence"), 0o600))
	c.must(os.Remove(c.met()))
	met()
	c.m.Node(victim).Thaw()
	c.mend(victim)
	judged(false)
	c.must(os.Remove(c.met()))
	c.revive(r.first)
	c.healthy()
	c.nothingLeft()
	c.everywhere(r.since, "t", "u")
}

// second kills the victim and follows what becomes of the others.
func (c *cluster) second(r *loss, b blow, held bool) {
	c.Helper()
	victim := b.victim(r)
	rest := r.rest(victim)
	if held && !b.back {
		c.divergeOnce(victim, rest, r)
	}
	c.must(c.m.Kill(c.Context(), victim))
	agent := r.dice.IntN(2) == 0
	if agent {
		c.kill(victim)
	}
	c.mend(victim)
	c.must(os.Remove(c.met()))
	patient := b.alone && (!b.back || r.dice.IntN(2) == 0)
	c.Logf("%s is lost, its agent too: %t; the others settle first: %t", victim, agent, patient)
	if patient {
		c.settled(rest, r.least, r.first, victim)
	}
	if b.back {
		c.revive(victim)
		c.settled(r.rest(""), r.least, r.first)
	}
}

// diverge lets the first node write what not all get, and at last what nobody gets.
func (c *cluster) diverge(r *loss) {
	c.Helper()
	write := func(times int) {
		for range times {
			*c.gaps++
			for _, tx := range mixed(*c.gaps) {
				c.exec(r.first, tx)
			}
		}
	}
	for _, n := range r.behind {
		c.m.Link(r.first, n).Cut()
		write(8)
	}
	c.caughtUp(slices.Concat(r.ahead, []string{r.first})...)
	r.least[r.first] = c.applied(r.ahead[0], r.first)
	for _, n := range r.ahead {
		c.m.Link(r.first, n).Cut()
		c.flushed(n) // a server that is killed keeps what is on its disk
	}
	write(1)
}

// divergeOnce lets the victim write what one of the others does not get.
func (c *cluster) divergeOnce(victim string, rest []string, r *loss) {
	c.Helper()
	lacks := r.pick(rest)
	has := r.pick(slices.DeleteFunc(slices.Clone(rest), func(n string) bool { return n == lacks }))
	c.m.Link(victim, lacks).Cut()
	*c.gaps++
	for _, tx := range around(*c.gaps, 2) {
		c.exec(victim, tx)
	}
	c.caughtUp(victim, has)
	r.least[victim] = c.applied(has, victim)
	c.Logf("%s has something of %s that %s has not", has, victim, lacks)
}

// mend loses what is on its way from a dead node, and ends the faults of its links.
func (c *cluster) mend(dead string) {
	c.Helper()
	for _, n := range c.m.Names() {
		if n != dead {
			c.m.Link(dead, n).Sever()
			c.must(c.m.Link(dead, n).Heal())
		}
	}
}

// met is the file that says that the failpoint was met.
func (c *cluster) met() string { return c.failpoint + ".hit" }

// revive starts what is down of a node: its server, its agent.
func (c *cluster) revive(node string) {
	c.Helper()
	if !c.m.Node(node).Running() {
		c.must(c.m.Node(node).Start(c.Context()))
	}
	if _, runs := c.agents[node]; !runs {
		c.start(node)
	}
}

// applied is what a node has applied of another.
func (c *cluster) applied(node, author string) topology.LSN {
	c.Helper()
	at, err := topology.ParseLSN(c.text(node, fmt.Sprintf(`select pg_replication_origin_progress('%s', false)::text`, c.origin(node, author))))
	c.must(err)
	return at
}

// settled: all these nodes are fenced off from the lost ones and from nobody else,
// at one position of each, and nothing else is left.
func (c *cluster) settled(nodes []string, least map[string]topology.LSN, lost ...string) {
	c.Helper()
	begin := time.Now()
	c.await(fmt.Sprintf("%v are healed of the loss of %v", nodes, lost), func() error {
		var errs []error
		at := map[string]string{}
		for _, n := range nodes {
			errs = append(errs, c.count(n, leftovers), c.count(n, fmt.Sprintf(`select
				abs((select count(*) from pg_replication_origin where roname like 'healer:fence:%%') - %[1]d)
				+ abs((select count(*) from pg_subscription where not subenabled) - %[1]d)`, len(lost))))
			for _, f := range lost {
				v, err := localpg.Value[string](c.Context(), c.m.Node(n), `select coalesce(pg_replication_origin_progress('pg_' || oid, false), '0/0')::text
					from pg_subscription where not subenabled and subname = '`+localpg.SubscriptionName(n, f)+`'`)
				if err != nil {
					return err
				}
				lsn, err := topology.ParseLSN(v)
				c.must(err)
				if lsn < least[f] {
					errs = append(errs, fmt.Errorf("%s has applied %s of %s, want %s", n, lsn, f, least[f]))
				}
				if was, ok := at[f]; ok && was != v {
					errs = append(errs, fmt.Errorf("%s has applied %s of %s, another %s", n, v, f, was))
				}
				at[f] = v
			}
		}
		return errors.Join(errs...)
	})
	c.Logf("%v settled after %s", nodes, time.Since(begin).Round(time.Millisecond))
}

// nothingLeft: no node is fenced off, and no recovery has left anything.
func (c *cluster) nothingLeft() {
	c.Helper()
	c.await("nothing is left anywhere", func() error {
		var errs []error
		for _, n := range c.m.Names() {
			errs = append(errs, c.count(n, leftovers), c.count(n, `select (select count(*) from pg_subscription where not subenabled)
				+ (select count(*) from pg_replication_origin where roname like 'healer:fence:%')`))
		}
		return errors.Join(errs...)
	})
	c.caughtUp()
}
