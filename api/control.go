package api

import (
	"context"
	"net/http"

	"healer/control"
)

// Steering is where an agent is told what to do.
type Steering interface {
	// Maintenance suspends the verdicts about a node on all agents, or takes that
	// back. A refusal is a *topology.Fault.
	Maintenance(ctx context.Context, r MaintenanceRequest) (control.Entry, error)
	// Steer does what verb says, one of Verbs. said tells what becomes of it. A
	// refusal is a *topology.Fault.
	Steer(ctx context.Context, verb Verb, r SteerRequest) (e control.Entry, said string, err error)
}

// Verb is the last part of the path of a request that steers recoveries.
type Verb string

// The verbs.
const (
	Pause   Verb = "pause"
	Resume  Verb = "resume"
	Approve Verb = "approve"
	Cancel  Verb = "cancel"
	Ack     Verb = "ack"
)

// SteerRequest is the body of POST /v1/control/{verb}.
type SteerRequest struct {
	// Node is whose recoveries are meant: by pause and resume all when empty, by
	// ack the one of the recovery when empty.
	Node string `json:"node,omitempty"`
	// Recovery is the id of the recovery to approve, cancel or acknowledge.
	Recovery string `json:"recovery,omitempty"`
	// Plan is the shape of the plan that is approved, as recovery.planned and the
	// status have it; empty approves the plan as it is now.
	Plan string `json:"plan,omitempty"`
	// For bounds a pause; 0 is until it is resumed.
	For    Duration `json:"for,omitempty"`
	By     string   `json:"by,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// DryRun checks the request and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// MaintenanceRequest is the body of POST /v1/control/maintenance.
type MaintenanceRequest struct {
	Node string `json:"node"`
	// For is how long from now; End takes back what was said before.
	For    Duration `json:"for,omitempty"`
	End    bool     `json:"end,omitempty"`
	By     string   `json:"by,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// DryRun checks the request and changes nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// Controlled is the answer to a request that steers the agents.
type Controlled struct {
	// Agent is the node whose agent answers: it tells the others.
	Agent string `json:"agent"`
	// Entry is what holds now, or would hold after a dry run.
	Entry  control.Entry `json:"entry"`
	DryRun bool          `json:"dry_run,omitempty"`
	// Said tells what becomes of it.
	Said string `json:"said,omitempty"`
}

// Access is the body of GET /v1/control, which answers as a request that changes
// something would be answered: whoever gets it may steer.
type Access struct {
	Cluster string `json:"cluster"`
	Agent   string `json:"agent"`
	// By is token or certificate: what the request has shown.
	By string `json:"by"`
	// Control is what operators have said and still holds.
	Control []control.Entry `json:"control"`
}

// access serves who may steer, and changes nothing.
func access(o Options) http.Handler {
	return keysOf(o).guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := o.Source.Status(r.Context())
		respond(w, http.StatusOK, Access{
			Cluster: s.Cluster, Agent: s.Agent, By: admittedBy(r), Control: append([]control.Entry{}, s.Control...),
		})
	}))
}

// steering are the ways in for what changes something.
func steering(o Options) []route {
	out := []route{
		{"GET /v1/control", access(o)},
		{"POST /v1/control/maintenance", change(keysOf(o), func(r *http.Request, in MaintenanceRequest) (Controlled, error) {
			e, err := o.Steering.Maintenance(r.Context(), in)
			return Controlled{Agent: o.Source.Status(r.Context()).Agent, Entry: e, DryRun: in.DryRun}, err
		})},
	}
	for _, verb := range []Verb{Pause, Resume, Approve, Cancel, Ack} {
		out = append(out, route{"POST /v1/control/" + string(verb), change(keysOf(o), func(r *http.Request, in SteerRequest) (Controlled, error) {
			e, said, err := o.Steering.Steer(r.Context(), verb, in)
			return Controlled{Agent: o.Source.Status(r.Context()).Agent, Entry: e, DryRun: in.DryRun, Said: said}, err
		})})
	}
	return out
}
