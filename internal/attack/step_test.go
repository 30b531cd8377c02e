package attack

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// moments are the boundaries of every step of a recovery, and times inside of it.
func moments() []string {
	var all []string
	for _, k := range steps() {
		for _, at := range []string{"before_apply %s", "inside %s 1ms", "inside %s 10ms", "inside %s 40ms", "after_apply %s"} {
			all = append(all, fmt.Sprintf(at, k))
		}
	}
	return all
}

// TestCoordinatorKilledInEveryStep ends the agent that acts at each boundary of each
// step, and inside of it: another one finishes what it began, to the same result, and
// nothing is left over. HEALER_ATTACK_FULL=1 is for all moments; else each run takes
// other ones.
func TestCoordinatorKilledInEveryStep(t *testing.T) {
	c := newCluster(t, nodes(t, 3))
	c.walk("", some(t, random(t), moments(), 4), (*cluster).killedAt)
}

func (c *cluster) killedAt(moment string) {
	c.healthy()
	g := c.fallBehind()
	c.dieAt(moment)
	c.whole(g)
}

// fallBehind lets the laggard miss what the lost node wrote.
func (c *cluster) fallBehind() gap {
	c.Helper()
	g := gap{Floor: c.progress(laggard, false), SourceOrigin: c.origin(source, lost)}
	c.m.Link(lost, laggard).Cut()
	for range 20 {
		*c.gaps++
		for _, tx := range mixed(*c.gaps) {
			c.exec(lost, tx)
		}
	}
	c.caughtUp(lost, source)
	g.Watermark = c.progress(source, false)
	return g
}

// dieAt loses the node, and the agent that is at the moment first: the others finish,
// and both come back.
func (c *cluster) dieAt(moment string) {
	c.Helper()
	c.must(os.WriteFile(c.failpoint, []byte(moment), 0o600))
	c.lose()
	dead, at := c.casualty()
	c.recovered()
	c.Logf("the agent of %s died; another one began its first step %s later; healed after %s",
		dead, c.firstStep(dead, at), time.Since(at).Round(time.Millisecond))
	c.start(dead)
	c.must(c.m.Node(lost).Start(c.Context()))
	c.healthy()
}

// casualty waits for the agent that dies by the failpoint.
func (c *cluster) casualty() (node string, at time.Time) {
	c.Helper()
	c.await("an agent dies", func() error {
		for n, p := range c.agents {
			select {
			case err := <-p.done:
				p.done <- err
				node, at = n, p.ended
				return nil
			default:
			}
		}
		return errors.New("all agents live")
	})
	return node, at
}

// firstStep is how long after an agent's death another one began its first step, as
// their logs have it.
func (c *cluster) firstStep(dead string, at time.Time) string {
	c.Helper()
	ended := regexp.MustCompile(`^time=(\S+) .*msg="step ended" .*took=(\S+) `)
	var after []time.Duration
	for n := range c.dirs {
		log, err := os.ReadFile(c.logFile(n))
		c.must(err)
		for line := range strings.Lines(string(log)) {
			m := ended.FindStringSubmatch(line)
			if n == dead || m == nil {
				continue
			}
			end, err := time.Parse(time.RFC3339Nano, m[1])
			c.must(err)
			took, err := time.ParseDuration(m[2])
			c.must(err)
			if d := end.Add(-took).Sub(at); d > 0 {
				after = append(after, d)
			}
		}
	}
	if len(after) == 0 {
		return "never"
	}
	return slices.Min(after).Round(time.Millisecond).String()
}
