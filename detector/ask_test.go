package detector

import (
	"testing"
	"time"
)

// A member whose answer may be from before the node ended is asked again soon, and
// then less and less often; one that has answered since is asked once an interval.
func TestAskingPaces(t *testing.T) {
	const every = 300 * time.Millisecond
	start := time.Unix(1000, 0)
	times := func(doubt Doubt) (at []time.Duration) {
		var a asking
		for passed := time.Duration(0); passed < 3*every; passed += time.Millisecond {
			if _, ok := a.begin(doubt, start.Add(passed), every); ok {
				if _, twice := a.begin(doubt, start.Add(passed+every), every); twice {
					t.Fatal("asked twice at once")
				}
				a.end(doubt.Member)
				at = append(at, passed)
			}
		}
		return at
	}
	if at := times(Doubt{Member: "n1"}); len(at) != 3 || at[1] != every || at[2] != 2*every {
		t.Errorf("who has answered is asked at %v", at)
	}
	at := times(Doubt{Member: "n1", At: start})
	if len(at) < 6 || len(at) > 12 || at[1] > 2*askAgain || at[len(at)-1]-at[len(at)-2] < every/4 {
		t.Errorf("who may be gone is asked at %v", at)
	}
}
