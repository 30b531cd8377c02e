package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/detector"
	"healer/events"
)

// Each change makes its events, and an operator's silence makes none.
func TestNewsOf(t *testing.T) {
	t.Parallel()
	v := func(life detector.Life, change ...func(*detector.Verdict)) detector.Verdict {
		v := detector.Verdict{Node: "n1", Life: life, AgentSince: 36}
		for _, c := range change {
			c(&v)
		}
		return v
	}
	unwatched := func(v *detector.Verdict) { v.Unwatched = true }
	restarted := func(v *detector.Verdict) { v.AgentSince = 72 }
	maintained := func(v *detector.Verdict) { v.Maintained = true }
	held := func(d time.Duration) func(*detector.Verdict) { return func(v *detector.Verdict) { v.HoldDown = d } }
	for name, c := range map[string]struct {
		was, now detector.Verdict
		want     []events.Kind
		detail   string
	}{
		"first seen":                   {detector.Verdict{}, v(detector.LifeUp), nil, ""},
		"suspected":                    {v(detector.LifeUp), v(detector.LifeSuspected), []events.Kind{events.NodeSuspected}, ""},
		"refuted":                      {v(detector.LifeSuspected), v(detector.LifeUp), []events.Kind{events.NodeRefuted}, ""},
		"failed":                       {v(detector.LifeUp), v(detector.LifeFailed), []events.Kind{events.NodeFailed}, ""},
		"the same life":                {v(detector.LifeFailed), v(detector.LifeFailed), nil, ""},
		"suspected under maintenance":  {v(detector.LifeUp), v(detector.LifeSuspected, maintained), nil, ""},
		"failed after its maintenance": {v(detector.LifeUp), v(detector.LifeFailed), []events.Kind{events.NodeFailed}, ""},
		"begins to flap":               {v(detector.LifeUp), v(detector.LifeFailed, held(5*time.Second)), []events.Kind{events.NodeFailed, events.NodeFlapping}, ""},
		"is held for longer":           {v(detector.LifeFailed, held(5*time.Second)), v(detector.LifeFailed, held(10*time.Second)), []events.Kind{events.NodeFlapping}, "10s"},
		"flaps no more":                {v(detector.LifeUp, held(10*time.Second)), v(detector.LifeUp), nil, ""},
		"unwatched":                    {v(detector.LifeUp), v(detector.LifeUp, unwatched), []events.Kind{events.NodeUnwatched}, "10"},
		"watched, the agent is new":    {v(detector.LifeUp, unwatched), v(detector.LifeUp, restarted), []events.Kind{events.NodeWatched}, "10"},
		"failed while unwatched":       {v(detector.LifeUp, unwatched), v(detector.LifeFailed), []events.Kind{events.NodeFailed}, ""},
	} {
		var kinds []events.Kind
		detail := ""
		for _, n := range newsOf(c.was, c.now) {
			kinds = append(kinds, n.kind)
			if len(n.detail) > 0 && len(kinds) == 1 {
				detail = n.detail[0]
			}
		}
		if d := cmp.Diff(c.want, kinds); d != "" || detail != c.detail {
			t.Errorf("%s: detail %q, kinds (-want +got):\n%s", name, detail, d)
		}
	}
}
