package check

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"healer/chaos/history"
)

// A run that comes when another has carried all sees no gap, and is none too many.
func TestCarryModel(t *testing.T) {
	for name, c := range map[string]struct {
		runs []carry
		fine bool
	}{
		"at once":            {[]carry{{6, 6}}, true},
		"in two":             {[]carry{{6, 4}, {6, 2}}, true},
		"another looks":      {[]carry{{6, 6}, {0, 0}}, true},
		"too many":           {[]carry{{6, 7}}, false},
		"too many in two":    {[]carry{{6, 4}, {6, 4}}, false},
		"all, and once more": {[]carry{{6, 6}, {1, 1}}, false},
	} {
		var ops []porcupine.Operation
		for i, run := range c.runs {
			ops = append(ops, porcupine.Operation{Input: run, Call: int64(2 * i), Return: int64(2*i + 1), ClientId: i})
		}
		if got := porcupine.CheckOperations(carryModel(), ops); got != c.fine {
			t.Errorf("%s: fine %v, want %v", name, got, c.fine)
		}
	}
}

// One lock, of which each sample says who had it.
func TestOneApplier(t *testing.T) {
	for name, c := range map[string]struct {
		samples [][]string
		fine    bool
	}{
		"one after the other":                  {[][]string{nil, {"a"}, {"a"}, {"b"}, {"b"}, nil}, true},
		"another in between":                   {[][]string{{"a"}, {"a"}, {"b"}, {"a"}, {"a"}, nil, {"c"}}, true},
		"each again":                           {[][]string{{"a"}, {"b"}, {"a"}, {"b"}, nil, {"a"}}, true},
		"two at once":                          {[][]string{{"a"}, {"a", "b"}, {"b"}}, true},
		"two at once for longer":               {[][]string{{"a"}, {"a", "b"}, {"a", "b"}, {"b"}}, false},
		"a second while one that had it again": {[][]string{{"a"}, {"b"}, {"a"}, {"a", "b"}, {"a", "b"}, {"a"}}, false},
	} {
		f := &facts{Run: Run{Nodes: []string{"n1", "n2"}}, samples: map[string][]history.Sample{}}
		for i, sessions := range c.samples {
			s := history.Sample{Node: "n2", Asked: time.Duration(10 * i), At: time.Duration(10*i + 5)}
			for _, session := range sessions {
				s.Appliers = append(s.Appliers, history.Applier{Origin: "n1", Session: session})
			}
			f.samples["n2"] = append(f.samples["n2"], s)
		}
		if got := oneApplier(f); (len(got) == 0) != c.fine {
			t.Errorf("%s: found %q, fine is %v", name, got, c.fine)
		}
	}
}
