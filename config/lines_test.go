package config_test

import (
	"testing"

	"healer/config"
)

func TestNodeLines(t *testing.T) {
	src := []byte(`cluster: app
nodes:
  - name: n1
    dsn: "host=a"

  - {name: n2, dsn: "host=b"}
  - dsn: "host=c"
    name: "n3"
    nats:
      client: "c:1"
  # the last
  - name: n4

mode: auto
`)
	for name, want := range map[string][2]int{"n1": {3, 4}, "n2": {6, 6}, "n3": {7, 10}, "n4": {12, 12}} {
		first, last, ok := config.NodeLines(src, name)
		if !ok || first != want[0] || last != want[1] {
			t.Errorf("%s: lines %d to %d (%v), want %v", name, first, last, ok, want)
		}
	}
	if _, _, ok := config.NodeLines(src, "n9"); ok {
		t.Error("found a node that is not there")
	}
	if _, _, ok := config.NodeLines([]byte("nodes: ["), "n1"); ok {
		t.Error("found a node in what is not YAML")
	}
}
