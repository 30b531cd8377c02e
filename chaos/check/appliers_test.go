package check

import (
	"testing"

	"github.com/anishathalye/porcupine"
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
