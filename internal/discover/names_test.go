package discover

import (
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	// links are the names that all pairs of a mesh give their subscriptions.
	links := func(nodes []string, name func(to, from string) string) []hints {
		out := make([]hints, len(nodes))
		for i, to := range nodes {
			for j, from := range nodes {
				if i != j {
					out[i].own = append(out[i].own, name(to, from))
					out[j].readers = append(out[j].readers, name(to, from))
				}
			}
		}
		return out
	}
	three := []string{"berlin", "paris", "rome"}
	for _, c := range []struct {
		name, want, how string
		nodes           []hints
	}{
		{"to and from", "berlin paris rome", "names of subscriptions", links(three, func(to, from string) string { return "sub_" + to + "_from_" + from })},
		{"from alone", "berlin paris rome", "names of subscriptions", links(three, func(_, from string) string { return "from-" + from })},
		{"to alone", "berlin paris rome", "names of subscriptions", links(three, func(to, _ string) string { return to + "_sub" })},
		{"nothing", "n1 n2 n3", "their order", links(three, func(string, string) string { return "sub" })},
		{"two nodes are told apart by both names", "n1 n2", "their order", links(three[:2], func(to, from string) string { return to + "_" + from })},
		{"cluster_name", "east west", "cluster_name", []hints{{cluster: "East", host: "a"}, {cluster: "west", host: "b"}}},
		{"cluster_name as Debian has it", "db1 db2", "hosts", []hints{{cluster: "16/main", host: "db1.example.com"}, {cluster: "16/main", host: "DB2.example.com"}}},
		{"application_name", "a b", "application_name", []hints{{applications: []string{"a", "a"}}, {applications: []string{"b"}}}},
		{"addresses", "n1 n2", "their order", []hints{{host: "10.0.0.1"}, {host: "fd00::b"}}},
		{"one host", "n1 n2", "their order", []hints{{host: "db"}, {host: "db"}}},
		{"alike as a slot's name", "n1 n2", "their order", []hints{{cluster: "a-b", host: "x_y"}, {cluster: "a_b", host: "x-y"}}},
	} {
		names, how := nameAll(c.nodes)
		if got := strings.Join(names, " "); got != c.want || !strings.Contains(how, c.how) {
			t.Errorf("%s: %s by %s; want %s by %s", c.name, got, how, c.want, c.how)
		}
		if !usable(names) {
			t.Errorf("%s: %v are no names", c.name, names)
		}
		slices.Reverse(c.nodes)
		back, _ := nameAll(c.nodes)
		if slices.Reverse(back); !strings.HasPrefix(c.want, "n1") && !slices.Equal(back, names) {
			t.Errorf("%s: %v, and the other way round %v", c.name, names, back)
		}
	}
}
