package detector

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"healer/topology"
)

// Quorum is how many accusations make a failure.
type Quorum string

// The quorums.
const (
	// QuorumMajority asks for more than half of the configured members.
	QuorumMajority Quorum = "majority"
	// QuorumHalf is content with half of them when the evidence is positive.
	QuorumHalf Quorum = "half"
)

// Rules are what the Judge goes by.
type Rules struct {
	Quorum Quorum
	// SilentAfter is how long silence must last before it accuses.
	SilentAfter time.Duration
	// SuspectAfter is how long silence must last to make a node suspected.
	SuspectAfter time.Duration
	// EvidenceTTL is how long evidence counts that is not refreshed.
	EvidenceTTL time.Duration
	// StartupGrace is how long after the start of the agent a node that was
	// never seen alive cannot fail.
	StartupGrace time.Duration
	// RefuteWithin is how soon after enough members began to accuse a node
	// somebody must have had an answer to refute them. An agent that dies at
	// the same instant as its server has left a last answer behind, which
	// speaks of the time before.
	RefuteWithin time.Duration
	// Witnesses are members that own no server: they look and vote.
	Witnesses []string
	// FlapAfter failures within FlapWindow make a node flap. It is then taken
	// back only when it has answered without a break for HoldDown, which
	// doubles with every further failure up to HoldDownMax.
	FlapAfter             int
	FlapWindow            time.Duration
	HoldDown, HoldDownMax time.Duration
	// PauseAfter is how long this agent may be without any input or evaluation
	// before it takes itself for paused. It is longer than the interval at which
	// it is evaluated.
	PauseAfter time.Duration
	// UnwatchedAfter is how long a node's agent must be gone beside a living
	// server before the node is unwatched.
	UnwatchedAfter time.Duration
	// LeaveGrace is how long after its agent's announced leave a server may
	// still answer and then end without that being a failure.
	LeaveGrace time.Duration
}

// Timing is how often and how long the Detector probes.
type Timing struct {
	// ProbeInterval is the time between two probes of a node, and between two
	// refreshes of what this agent tells the others.
	ProbeInterval time.Duration
	// ProbeTimeout is how long a node may take to answer before the probe
	// counts as unanswered. The probe itself goes on: see ProbeAbandon.
	ProbeTimeout time.Duration
	// ProbeAbandon is how long an unanswered probe is kept before its session
	// is given up for a new one. It doubles up to ten times its value while
	// the server accepts connections without answering, because every
	// connection given up is one more for a hung server to work off.
	ProbeAbandon time.Duration
}

// Prior is what an earlier life of this agent knew of a node.
type Prior struct {
	Identity topology.Identity `json:"identity,omitzero"`
	Episode  uint64            `json:"episode"`
	// Failed is set when the node failed in this episode and was not taken back:
	// Identity is then the one that was lost.
	Failed bool `json:"failed,omitempty"`
	// Failures are the latest of the node, for whether it flaps.
	Failures []time.Time `json:"failures,omitempty"`
}

// Equal reports whether two memories are the same.
func (p Prior) Equal(o Prior) bool {
	return p.Identity == o.Identity && p.Episode == o.Episode && p.Failed == o.Failed && slices.EqualFunc(p.Failures, o.Failures, time.Time.Equal)
}

// Options configure a Detector. Zero durations take their defaults.
type Options struct {
	// Self is the name of this agent's own node, one of Members, or of this
	// witness, one of Rules.Witnesses.
	Self string
	// Members are the names of all configured nodes.
	Members []string
	// Probers has one prober for each member, Self included.
	Probers map[string]Prober
	Gossip  Gossip
	Rules   Rules
	Timing  Timing
	// Prior is what was remembered from an earlier life; may be nil.
	Prior map[string]Prior
	// Suspended returns the nodes under maintenance; nil means none ever is. It is
	// called often and answers from memory.
	Suspended func() map[string]Suspension
	// OnAgents is called when Agents returns something new; may be nil. It must not
	// block.
	OnAgents func()
	// Log is required.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// DefaultRules are the rules for a local network.
func DefaultRules() Rules {
	return Rules{
		Quorum: QuorumMajority, SilentAfter: time.Second, SuspectAfter: 750 * time.Millisecond,
		EvidenceTTL: 1500 * time.Millisecond, StartupGrace: 10 * time.Second,
		RefuteWithin: 300 * time.Millisecond, LeaveGrace: 10 * time.Second,
		FlapAfter: 3, FlapWindow: 10 * time.Minute, HoldDown: 5 * time.Second, HoldDownMax: 2 * time.Minute,
		PauseAfter: 600 * time.Millisecond, UnwatchedAfter: 3 * time.Second,
	}
}

// DefaultTiming is the timing for a local network.
func DefaultTiming() Timing {
	return Timing{
		ProbeInterval: 300 * time.Millisecond, ProbeTimeout: 500 * time.Millisecond,
		ProbeAbandon: 3 * time.Second,
	}
}

// orDefault returns v, or def when v is zero.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// withDefaults fills what is zero.
func (r Rules) withDefaults() Rules {
	def := DefaultRules()
	r.SuspectAfter = orDefault(r.SuspectAfter, r.SilentAfter*3/4)
	return Rules{
		Quorum:       orDefault(r.Quorum, def.Quorum),
		SilentAfter:  orDefault(r.SilentAfter, def.SilentAfter),
		SuspectAfter: orDefault(r.SuspectAfter, def.SuspectAfter),
		EvidenceTTL:  orDefault(r.EvidenceTTL, def.EvidenceTTL),
		StartupGrace: orDefault(r.StartupGrace, def.StartupGrace),
		RefuteWithin: orDefault(r.RefuteWithin, def.RefuteWithin),
		LeaveGrace:   orDefault(r.LeaveGrace, def.LeaveGrace),
		Witnesses:    r.Witnesses,
		FlapAfter:    orDefault(r.FlapAfter, def.FlapAfter), FlapWindow: orDefault(r.FlapWindow, def.FlapWindow),
		HoldDown: orDefault(r.HoldDown, def.HoldDown), HoldDownMax: orDefault(r.HoldDownMax, def.HoldDownMax),
		PauseAfter:     orDefault(r.PauseAfter, def.PauseAfter),
		UnwatchedAfter: orDefault(r.UnwatchedAfter, def.UnwatchedAfter),
	}
}

// withDefaults fills what is zero.
func (t Timing) withDefaults() Timing {
	def := DefaultTiming()
	return Timing{
		ProbeInterval: orDefault(t.ProbeInterval, def.ProbeInterval),
		ProbeTimeout:  orDefault(t.ProbeTimeout, def.ProbeTimeout),
		ProbeAbandon:  orDefault(t.ProbeAbandon, def.ProbeAbandon),
	}
}

// validate returns the first thing that makes the options unusable.
func (o Options) validate() error {
	if o.Gossip == nil || o.Log == nil {
		return fmt.Errorf("detector: options lack a gossip or a log")
	}
	voters := slices.Concat(o.Members, o.Rules.Witnesses)
	if !slices.Contains(voters, o.Self) {
		return fmt.Errorf("detector: %q is not one of the members %v", o.Self, voters)
	}
	for i, m := range voters {
		if slices.Contains(voters[:i], m) {
			return fmt.Errorf("detector: member %q is named twice", m)
		}
		if i < len(o.Members) && o.Probers[m] == nil {
			return fmt.Errorf("detector: there is no prober for member %q", m)
		}
	}
	r, t := o.Rules.withDefaults(), o.Timing.withDefaults()
	if r.Quorum != QuorumMajority && r.Quorum != QuorumHalf {
		return fmt.Errorf("detector: quorum %q is neither %q nor %q", r.Quorum, QuorumMajority, QuorumHalf)
	}
	// A probe that times out refreshes its evidence only after the timeout;
	// were the evidence to expire sooner, a slow server would have none.
	if r.EvidenceTTL <= t.ProbeInterval+t.ProbeTimeout {
		return fmt.Errorf("detector: evidence expires after %s, before a slow probe can refresh it (%s): raise the evidence's time to live or lower the probe's times",
			r.EvidenceTTL, t.ProbeInterval+t.ProbeTimeout)
	}
	return nil
}
