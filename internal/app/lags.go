package app

import (
	"slices"
	"sync"
	"time"

	"healer/topology"
)

// keptSamples bounds what is remembered of an origin's log: enough to tell a lag of a
// month within a twentieth.
const keptSamples = 512

// lags tells for how long each node has been behind each origin. It compares positions
// that it has seen itself, at times of its own monotonic clock: no other machine's clock
// goes in.
type lags struct {
	mu      sync.Mutex
	origins map[string]*course
}

// course is how an origin's log has grown, and how far the others have come in it.
type course struct {
	log topology.LogEnd
	// ends are the origin's flushed positions with when each was first seen, oldest
	// first; read is when the last was read.
	ends    []endSeen
	read    time.Time
	reached map[string]topology.LSN
}

type endSeen struct {
	lsn topology.LSN
	at  time.Time
}

func newLags() *lags { return &lags{origins: map[string]*course{}} }

// see takes an observation of the mesh. Of a node that is fenced off nothing is taken: it
// may be another under its name.
func (l *lags) see(obs topology.Observation, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, origin := range obs.Nodes {
		if fenced := slices.ContainsFunc(obs.Nodes, func(n topology.NodeState) bool { _, is := n.FenceOf(origin.Name); return is }); !fenced {
			l.grow(origin, now)
		}
		c := l.origins[origin.Name]
		if c == nil {
			continue
		}
		for _, n := range obs.Nodes {
			if sub, ok := n.From(origin.Name); ok {
				c.reached[n.Name] = max(c.reached[n.Name], sub.Progress)
			}
		}
	}
}

// grow takes a reading of an origin: the end of its log, and what the others have
// confirmed to its slots, which also moves when nothing is written that is replicated.
func (l *lags) grow(origin topology.NodeState, now time.Time) {
	if !origin.Reachable || origin.InRecovery || origin.Flushed == 0 {
		return
	}
	end := endOf(origin, now)
	c := l.origins[origin.Name]
	if c == nil || !c.log.SameLog(end) {
		c = &course{reached: map[string]topology.LSN{}}
		l.origins[origin.Name] = c
	}
	c.log, c.read = end, now
	if len(c.ends) == 0 || end.Flushed > c.ends[len(c.ends)-1].lsn {
		c.ends = append(c.ends, endSeen{end.Flushed, now})
		c.thin()
	}
	for _, s := range origin.Slots {
		if s.Kind == topology.SlotMesh {
			c.reached[s.To] = max(c.reached[s.To], s.Confirmed)
		}
	}
}

// thin drops the sample that is missed least when there are too many: the one whose
// neighbours lie closest together for their age.
func (c *course) thin() {
	if len(c.ends) <= keptSamples {
		return
	}
	least, at := 0.0, 0
	for i := 1; i < len(c.ends)-1; i++ {
		gap := float64(c.ends[i+1].at.Sub(c.ends[i-1].at)) / float64(c.read.Sub(c.ends[i-1].at))
		if at == 0 || gap < least {
			least, at = gap, i
		}
	}
	c.ends = slices.Delete(c.ends, at, at+1)
}

// of says how long before its last reading the origin's log went beyond what the node
// has reached; at least that long when it was so at the first reading. It is not known of
// a node of which no position was seen.
func (l *lags) of(origin, node string) (lag time.Duration, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.origins[origin]
	if c == nil || c.reached[node] == 0 {
		return 0, false
	}
	i := slices.IndexFunc(c.ends, func(e endSeen) bool { return e.lsn > c.reached[node] })
	if i < 0 {
		return 0, true
	}
	return c.read.Sub(c.ends[i].at), true
}
