package planner

import "healer/topology"

// Trigger is why a plan is asked for: a node was judged lost, or came back.
type Trigger struct {
	Kind Kind
	// Node is the node that was lost or has returned.
	Node string
	// Incarnation names the life of that node which the trigger belongs to.
	// With Node, Kind and Leftover it decides the plan's id.
	Incarnation string
	// Leftover is not empty when the node lives in Incarnation, and what is asked for is
	// left of an earlier loss: then it tells apart which.
	Leftover string
	// Lost are the nodes that the detector judges not alive now. A node that
	// is neither lost nor reachable makes the planner wait: silence is not
	// evidence.
	Lost []string
	// Memory is what was read of Node while it lived; zero when nothing was.
	Memory topology.Memory
	// Silent are nodes that nobody judges lost and that could not be read for
	// so long that the others are healed without them.
	Silent []string
	// Next are lost nodes whose own recovery follows this one: it begins by fencing
	// all survivors off from them.
	Next []string
	// Held says until when a recovery has to wait because the node came back
	// only a moment ago; empty when it has not.
	Held string
	// Sighted has, by survivor, what was first read of Node after it came back,
	// while that survivor was fenced off from it; nothing where nobody remembers.
	Sighted map[string]Sighting
}

// Sighting is what was read of a returned node behind one fence. It tells nothing
// once that fence was lifted, be another put up since.
type Sighting struct {
	// Mark and Made are those of the fence.
	Mark string `json:"mark"`
	Made uint32 `json:"made"`
	// End is the node's flushed LSN.
	End topology.LSN `json:"end"`
}

// Behind reports whether it is this fence that the sighting was made behind.
func (s Sighting) Behind(f topology.Fence) bool { return s.Mark == f.Mark && s.Made == f.Made }

// Mode is how far Healer may go by itself.
type Mode string

// The modes.
const (
	// ModeObserve: plans are shown and never run.
	ModeObserve Mode = "observe"
	// ModeAdvise: a plan runs once an operator has approved it.
	ModeAdvise Mode = "advise"
	// ModeAuto: plans run without an operator.
	ModeAuto Mode = "auto"
)

// Quorum is how many configured nodes must be alive for a recovery.
type Quorum string

// The quorums.
const (
	// QuorumMajority demands more than half of the configured nodes.
	QuorumMajority Quorum = "majority"
	// QuorumHalf is content with half of them. A recovery harms nothing when
	// both halves of an even split run it.
	QuorumHalf Quorum = "half"
)

// Policy is what the operator allows. The zero Policy allows nothing to run.
type Policy struct {
	// Mode is ModeObserve when empty.
	Mode Mode
	// Quorum is QuorumMajority when empty.
	Quorum Quorum
	// Capped is why Mode is less than the operator asked for; empty when it is
	// not.
	Capped string
	// Witnesses are members without a server, of which WitnessesAlive live. They
	// count for the quorum.
	Witnesses, WitnessesAlive int
	// Paused stops every plan that has something to do.
	Paused bool
	// Maintenance are the nodes that an operator has announced to be down or
	// changing on purpose.
	Maintenance []string
	// Cancelled stops every recovery, until an operator acknowledges it.
	Cancelled bool
	// Approved are the ids of plans that an operator released for running in
	// ModeAdvise.
	Approved []string
	// Rows lets a gap that no log covers be carried as rows, compared and not
	// replayed, instead of being refused.
	Rows bool
	// Only is the part of a recovery that an operator asked for; all of it when
	// zero.
	Only Part
}

// Part narrows a recovery down. All survivors are fenced off all the same.
type Part struct {
	// Source is the survivor that gaps are carried from; any when empty.
	Source string
	// Target is the survivor that is healed; every laggard when empty.
	Target string
}
