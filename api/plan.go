package api

import (
	"errors"
	"net/http"
	"time"

	"healer/topology"
)

// Plans is the body of GET /v1/plan.
type Plans struct {
	Cluster string `json:"cluster"`
	// Agent is the node whose agent answers, At when it last observed the mesh; zero
	// when it never did.
	Agent string    `json:"agent"`
	At    time.Time `json:"at"`
	// Plans has one for each node that is lost or has returned, or the one that was
	// asked for.
	Plans []Plan `json:"plans"`
}

// Plan is what a recovery, or taking a node back, would do now. Until the survivors
// are fenced off it is an estimate: what is on its way to them may still arrive.
type Plan struct {
	// ID is the recovery's id.
	ID string `json:"id"`
	// Kind is recovery or rejoin.
	Kind string `json:"kind"`
	// Node is the lost or returned node.
	Node string `json:"node"`
	// Shape names what the plan does: it is what an operator approves.
	Shape string `json:"shape"`
	// Survivors are the nodes that take part.
	Survivors []string `json:"survivors"`
	// Fenced is true when every survivor is fenced off from Node, so that Source,
	// Watermark and Lanes are final.
	Fenced bool `json:"fenced"`
	// Source is the survivor the gap is carried from; empty when nobody lacks anything.
	Source    string       `json:"source,omitempty"`
	Watermark topology.LSN `json:"watermark"`
	Lanes     []PlanLane   `json:"lanes"`
	// Unsent is, of a recovery, what of the lost node's log no survivor has.
	topology.Unsent
	Steps []PlanStep `json:"steps"`
	// Refusal is why the plan is not carried out; nil when nothing stands against it.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// PlanLane is the healing of one laggard.
type PlanLane struct {
	Target string `json:"target"`
	Source string `json:"source"`
	// From and To bound the gap, in the lost node's log: From is what Target has.
	From topology.LSN `json:"from"`
	To   topology.LSN `json:"to"`
	// Rows is true when rows are carried in place of transactions.
	Rows bool `json:"rows"`
}

// PlanStep is one action of a plan.
type PlanStep struct {
	ID string `json:"id"`
	// Kind is the verb, Node the server acted on, Target the laggard if any.
	Kind   string `json:"kind"`
	Node   string `json:"node,omitempty"`
	Target string `json:"target,omitempty"`
	// After lists the steps that must be done before this one.
	After []string `json:"after,omitempty"`
	// Before and Then say what holds before and after it.
	Before string `json:"before"`
	Then   string `json:"then"`
}

// plans serves what would be done now; with ?failed=NODE what the loss of that node
// would ask for.
func plans(src Source, from PlanSource) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made, err := from.Plans(r.Context(), r.URL.Query().Get("failed"))
		if err != nil {
			var f *topology.Fault
			if errors.As(err, &f) {
				problem(w, http.StatusNotFound, f.Code, f.Err.Error(), f.Hint)
				return
			}
			problem(w, http.StatusInternalServerError, "no_plan", err.Error(), "")
			return
		}
		s := src.Status(r.Context())
		respond(w, http.StatusOK, Plans{Cluster: s.Cluster, Agent: s.Agent, At: s.At, Plans: append([]Plan{}, made...)})
	})
}
