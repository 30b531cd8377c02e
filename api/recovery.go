package api

import (
	"context"
	"net/http"
	"time"

	"healer/topology"
)

// Run is one run of a recovery, or of taking a node back, by whichever agent. It is an
// element of the body of GET /v1/recoveries, there without Steps and Listed, and of GET /v1/recoveries/{id}, where id is that of a recovery or
// of a run.
type Run struct {
	Recovery
	// Run names the run, Agent is the node whose agent it is.
	Run   string `json:"run"`
	Agent string `json:"agent"`
	// Incarnation is the life that the node lost.
	Incarnation string       `json:"incarnation"`
	Survivors   []string     `json:"survivors,omitempty"`
	Watermark   topology.LSN `json:"watermark"`
	Steps       []RunStep    `json:"steps,omitempty"`
	// Listed are the first 1,000 conflicts in the order in which they were met.
	Listed []topology.RowConflict `json:"listed_conflicts,omitempty"`
}

// RunStep is one step of a run.
type RunStep struct {
	// Kind is the verb, Node the server acted on, Target the laggard if any.
	Kind     string           `json:"kind"`
	Node     string           `json:"node,omitempty"`
	Target   string           `json:"target,omitempty"`
	State    string           `json:"state"`
	Attempts int              `json:"attempts"`
	Started  time.Time        `json:"started"`
	Duration Duration         `json:"duration"`
	Evidence string           `json:"evidence,omitempty"`
	Figures  map[string]int64 `json:"figures,omitempty"`
	Error    string           `json:"error,omitempty"`
	Hint     string           `json:"hint,omitempty"`
	// Tries are the attempts that failed and were repeated.
	Tries []RunTry `json:"tries,omitempty"`
}

// RunTry is an attempt that failed.
type RunTry struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// Runs is the body of GET /v1/recoveries and GET /v1/recoveries/{id}.
type Runs struct {
	Cluster string `json:"cluster"`
	// Agent is the node whose agent answers.
	Agent string `json:"agent"`
	// Runs are oldest first.
	Runs []Run `json:"runs"`
	// Problem says what of the journal cannot be read; empty when all can.
	Problem string `json:"problem,omitempty"`
}

// recoveries serves the runs; with an id only those of it, in full.
func recoveries(src Source, from RecoverySource) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := src.Status(r.Context())
		out := Runs{Cluster: s.Cluster, Agent: s.Agent, Runs: []Run{}}
		runs, err := from.Recoveries(r.Context())
		if err != nil {
			out.Problem = err.Error()
		}
		code, id := http.StatusOK, r.PathValue("id")
		for _, run := range runs {
			switch {
			case id == "":
				run.Steps, run.Listed = nil, nil
				out.Runs = append(out.Runs, run)
			case run.ID == id || run.Run == id:
				out.Runs = append(out.Runs, run)
			}
		}
		if id != "" && len(out.Runs) == 0 {
			code = http.StatusNotFound
		}
		respond(w, code, out)
	})
}

// FetchRecoveries asks the agent at addr, a host:port, for its runs: for all of
// them in short, or for those of one recovery or run in full. That it knows none of
// that id is no error. Bound it by ctx.
func FetchRecoveries(ctx context.Context, client *http.Client, addr, id string) (Runs, error) {
	path := "/v1/recoveries"
	if id != "" {
		path += "/" + id
	}
	var runs Runs
	err := fetch(ctx, client, addr, path, []int{http.StatusOK, http.StatusNotFound}, &runs, func() bool { return runs.Cluster != "" })
	return runs, err
}
