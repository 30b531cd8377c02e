package gossip_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// TestBuildsAreKnown: every agent knows which version the others run, of an upgraded one
// the new, and of one that is gone none.
func TestBuildsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		know := func(want map[string]string) func() bool {
			return func() bool {
				for name := range c.agents {
					if !maps.Equal(c.gossip[name].Builds(), want) {
						return false
					}
				}
				return true
			}
		}
		c.await("nobody tells", 10*time.Second, know(map[string]string{"n1": "", "n2": "", "n3": ""}))
		c.builds = map[string]string{"n2": "v2"}
		c.stop("n2")
		c.start("n2")
		c.await("n2 was upgraded", 10*time.Second, know(map[string]string{"n1": "", "n2": "v2", "n3": ""}))
		c.crash("n3")
		c.await("n3 is gone", 10*time.Second, know(map[string]string{"n1": "", "n2": "v2"}))
	})
}
