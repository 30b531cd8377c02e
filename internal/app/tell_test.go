package app

import (
	"testing"
	"time"

	"healer/api"
	"healer/events"
	"healer/topology"
)

// However a recovery ended, an agent that hears of it knows what nobody but the lost
// node has.
func TestEndsTellWhatIsUnsent(t *testing.T) {
	t.Parallel()
	bytes := int64(12)
	unsent := topology.Unsent{UnsentBytes: &bytes}
	for kind, c := range map[events.Kind]struct {
		data  any
		state string
	}{
		events.RecoveryVerified:  {events.Verified{Node: "n1", Unsent: unsent}, api.RecoveryVerified},
		events.RecoveryFailed:    {events.Failed{Plan: "recovery", Node: "n1", Unsent: unsent}, api.RecoveryFailed},
		events.RecoveryCancelled: {events.Failed{Plan: "recovery", Node: "n1", Unsent: unsent}, api.RecoveryCancelled},
	} {
		e, err := events.New(events.Fact{Cluster: "app", Kind: kind, Node: "n1", Incarnation: "i.1", Recovery: "r"}, "n2", time.Unix(9, 0), c.data)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := recoveryFrom(e)
		if !ok || r.State != c.state || r.UnsentBytes == nil || *r.UnsentBytes != bytes {
			t.Errorf("%s is told as %+v", kind, r)
		}
	}
}
