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
}

// steer routes what changes something.
func steer(mux *http.ServeMux, o Options) {
	mux.Handle("POST /v1/control/maintenance", change(o.Token,
		func(r *http.Request, in MaintenanceRequest) (Controlled, error) {
			e, err := o.Steering.Maintenance(r.Context(), in)
			return Controlled{Agent: o.Source.Status(r.Context()).Agent, Entry: e, DryRun: in.DryRun}, err
		}))
}
