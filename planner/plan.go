package planner

import "healer/topology"

// Kind is what a plan is for.
type Kind string

// The kinds of plans.
const (
	// Recovery heals what the loss of a node left different.
	Recovery Kind = "recovery"
	// Rejoin takes a node back that has returned.
	Rejoin Kind = "rejoin"
)

// StepKind is one of the verbs an executor knows.
type StepKind string

// The verbs, in the order in which a plan uses them.
const (
	// Fence: drain and disable Node's subscription to the lost node, marked.
	StepFence StepKind = "fence"
	// Observe: read the mesh again, now that progress is frozen, and replace
	// the rest of the plan by what follows from it.
	StepObserve StepKind = "observe"
	// Clone: mark the gap on Target and copy the recovery slot of Node.
	StepClone StepKind = "clone"
	// Advance: move the clone to the newest position known to lie before the
	// gap.
	StepAdvance StepKind = "advance"
	// Subscribe: stream the clone and apply the gap on Target.
	StepSubscribe StepKind = "subscribe"
	// Rows: mark the gap on Target, compare whole tables with Node and the others,
	// and make the rows equal, for want of a log that has the transactions.
	StepRows StepKind = "rows"
	// Verify: compare every row that the gaps touched on every survivor.
	StepVerify StepKind = "verify"
	// Release: drop Target's clone and gap mark.
	StepRelease StepKind = "release"

	// Check: the returned node's identity, history and slots are the expected.
	StepCheck StepKind = "check"
	// Unfence: enable Node's subscription to the returned node, unmark it.
	StepUnfence StepKind = "unfence"
	// Drain: wait until Node and the returned node have each applied what the
	// other had committed.
	StepDrain StepKind = "drain"
	// Compare: compare all tables with Node, which was away while gaps were carried
	// that it might have changed rows of, and make the rows equal.
	StepCompare StepKind = "compare"
)

// Step is one action of a plan. It is data: what it does is up to the executor.
type Step struct {
	// ID is deterministic: the same step of the same plan has the same id,
	// whichever agent makes the plan.
	ID   string   `json:"id"`
	Kind StepKind `json:"kind"`
	// Node is the server acted on; for a lane's steps the source.
	Node string `json:"node"`
	// Target is the laggard of a lane's step; empty otherwise.
	Target string `json:"target,omitempty"`
	// After lists the steps that must be done before this one.
	After []string `json:"after,omitempty"`
	// Before and Then are the precondition and the postcondition in words.
	Before string `json:"before"`
	Then   string `json:"then"`
}

// Lane is the healing of one laggard. Lanes run side by side.
type Lane struct {
	Target string `json:"target"`
	Source string `json:"source"`
	// Rows is true when the gap is carried as rows and not as transactions: there
	// is no slot then.
	Rows bool `json:"rows,omitempty"`
	// Slot is the recovery slot on Source that is cloned; Clone is the copy.
	Slot  string `json:"slot"`
	Clone string `json:"clone"`
	// From is the laggard's progress when the gap was first seen, To the
	// watermark: the gap is (From, To] in the lost node's LSNs.
	From topology.LSN `json:"from"`
	To   topology.LSN `json:"to"`
}

// Plan is what will be done, in order, with nothing left to decide but what
// the Observe step reveals.
type Plan struct {
	// ID is the recovery's id: the same for every agent and every attempt.
	ID      string `json:"id"`
	Kind    Kind   `json:"kind"`
	Cluster string `json:"cluster"`
	// Node is the lost or returned node, Incarnation the life it lost.
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
	// Survivors are the nodes that take part, sorted.
	Survivors []string `json:"survivors"`
	// Readers are, for a rejoin, the nodes that read from Node once the plan is
	// done, sorted: Survivors, and those that did before.
	Readers []string `json:"readers,omitempty"`
	// Because is why a recovery is planned of a node that lives; empty when it is lost.
	Because string `json:"because,omitempty"`
	// Fenced is true when every survivor's fence was in place already, so
	// that Watermark, Source and Lanes are final and not an estimate.
	Fenced    bool         `json:"fenced"`
	Watermark topology.LSN `json:"watermark"`
	Source    string       `json:"source,omitempty"`
	Lanes     []Lane       `json:"lanes"`
	// Absent are nodes that are not lost and could not be read: they are
	// healed once they can be.
	Absent []string `json:"absent,omitempty"`
	// Left are survivors that lag behind as well, and that an operator did not
	// ask to heal.
	Left []string `json:"left,omitempty"`
	// Uncompared are the survivors whose gap marks are released without a comparison,
	// because nobody is left to compare with.
	Uncompared []Uncompared `json:"uncompared,omitempty"`
	// Unsettled are nodes that were lost as well and may yet turn out to live: no
	// survivor waits for what they committed, and they are not fenced off yet. So the
	// gap marks stay, and the rows are compared once more when that is decided.
	Unsettled []string `json:"unsettled,omitempty"`
	// Unsent is, for a recovery, what of the lost node's log nobody else has.
	topology.Unsent
	Steps []Step `json:"steps"`
	// Foreseen is, while Fenced is false, what stands against carrying
	// anything as it looks now. The survivors are fenced all the same: the gap
	// may close meanwhile, and what returns has to be checked.
	Foreseen *Refusal `json:"foreseen,omitempty"`
}

// Uncompared is a survivor whose gap mark is released although its rows were not
// compared with anybody's.
type Uncompared struct {
	Node string `json:"node"`
	// Why says what is not known, Remedy how to find out.
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

// Empty reports whether the plan has nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Reason is the stable code of a refusal.
type Reason string

// Refusal is a planner's reasoned "no". It is an event in its own right.
type Refusal struct {
	Reason Reason `json:"reason"`
	// Node is the node that stands in the way; empty when none does.
	Node string `json:"node,omitempty"`
	// Why explains it to an operator.
	Why string `json:"why"`
	// Remedy is what to do, as a command where there is one.
	Remedy string `json:"remedy"`
	// Wait is true when the obstacle may pass by itself, so that the same
	// trigger is worth planning again.
	Wait bool `json:"wait"`
}

// Error makes a refusal usable as an error.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Why }
