package api_test

import (
	"testing"

	"healer/api"
)

// TestMixedVersions: only those that live count, and one that does not tell is another.
func TestMixedVersions(t *testing.T) {
	for name, c := range map[string]struct {
		n1, n2, n3 api.Node
		w1         api.Witness
		want       string
	}{
		"nobody tells": {},
		"the same":     {n1: api.Node{AgentVersion: "v1"}, n2: api.Node{AgentVersion: "v1"}, n3: api.Node{AgentVersion: "v1"}, w1: api.Witness{AgentVersion: "v1"}},
		"two and a witness of the older": {
			n1: api.Node{AgentVersion: "v2"}, n2: api.Node{AgentVersion: "v1"}, n3: api.Node{AgentVersion: "v2"}, w1: api.Witness{AgentVersion: "v1"},
			want: "the agents run several versions: n2, w1 v1; n1, n3 v2",
		},
		"one does not tell": {
			n1: api.Node{AgentVersion: "v2"}, n3: api.Node{AgentVersion: "v2"}, w1: api.Witness{AgentVersion: "v2"},
			want: "the agents run several versions: n2 one that does not tell its version; n1, n3, w1 v2",
		},
	} {
		for i, n := range []*api.Node{&c.n1, &c.n2, &c.n3} {
			n.Name, n.AgentAlive = []string{"n1", "n2", "n3"}[i], true
		}
		c.w1.Name, c.w1.AgentAlive = "w1", true
		dead := api.Node{Name: "n4", AgentVersion: "v0"}
		s := api.Status{Nodes: []api.Node{c.n1, c.n2, c.n3, dead}, Witnesses: []api.Witness{c.w1}}
		if got := s.MixedVersions(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
