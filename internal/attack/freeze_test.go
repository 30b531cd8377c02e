package attack

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"healer/api"
)

// TestFrozenAgent stops agents with SIGSTOP and lets them go on: neither the frozen
// one nor the others may judge any node lost, for every server answers all the time.
// While the last of them is frozen a server is restarted: the frozen agent wakes up
// to old news of that, and must not fail a node that is well.
func TestFrozenAgent(t *testing.T) {
	c := newCluster(t, 3)
	c.healthy()
	pauses := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}
	if os.Getenv("HEALER_ATTACK_FULL") != "" {
		pauses = append(pauses, 10*time.Second, 30*time.Second)
	}
	names := c.m.Names()
	for i, pause := range pauses {
		c.freeze(names[i%len(names)], pause, func() {})
		c.healthy()
	}
	c.noFailure(names...)

	frozen, restarted := names[0], names[2]
	c.freeze(frozen, 5*time.Second, func() {
		c.must(c.m.Node(restarted).KillPostmaster(t.Context()))
		c.must(c.m.Node(restarted).Start(t.Context()))
		c.await("the others have met its new life", func() error {
			for _, n := range names[1:] {
				if err := c.lives(n, restarted); err != nil {
					return err
				}
			}
			return nil
		})
	})
	c.healthy()
	c.noFailure(frozen)
}

// freeze stops an agent for a while, in which something else happens.
func (c *cluster) freeze(node string, pause time.Duration, meanwhile func()) {
	c.Helper()
	pid := c.agents[node].pid
	c.must(syscall.Kill(pid, syscall.SIGSTOP))
	over := time.After(pause)
	meanwhile()
	<-over
	c.must(syscall.Kill(pid, syscall.SIGCONT))
	c.await(node+" answers again", func() error {
		_, err := api.FetchStatus(c.Context(), http.DefaultClient, c.apis[node])
		return err
	})
}

// life is what the agent holds of the node.
func (c *cluster) life(agent, node string) (string, error) {
	s, err := api.FetchStatus(c.Context(), http.DefaultClient, c.apis[agent])
	if err != nil {
		return "", err
	}
	for _, n := range s.Nodes {
		if n.Name == node {
			return n.Life, nil
		}
	}
	return "", fmt.Errorf("the agent of %s does not know %s", agent, node)
}

// lives objects when the agent does not hold the node for alive.
func (c *cluster) lives(agent, node string) error {
	s, err := api.FetchStatus(c.Context(), http.DefaultClient, c.apis[agent])
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if n.Name == node && n.Life != api.LifeUp {
			return fmt.Errorf("%s: %s is %s: %s", agent, node, n.Life, n.Reason)
		}
	}
	return nil
}

// noFailure reads in the agents' logs that none of them has judged a node lost.
func (c *cluster) noFailure(agents ...string) {
	c.Helper()
	failed := regexp.MustCompile(`msg=verdict .*life=failed`)
	for _, n := range agents {
		log, err := os.ReadFile(c.logFile(n))
		c.must(err)
		for line := range strings.Lines(string(log)) {
			if failed.MatchString(line) {
				c.Errorf("%s: %s", n, strings.TrimSpace(line))
			}
		}
	}
}
