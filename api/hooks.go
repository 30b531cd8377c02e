package api

// Hook is what came of a hook on the answering agent since its start. Each event is
// run by one of the agents.
type Hook struct {
	// Name is the hook's place in the file with its pattern, such as 1:recovery.*.
	Name string `json:"name"`
	// Done counts events, Failed tries that failed, GivenUp events of which the last
	// try failed. Running are under way.
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	GivenUp int `json:"given_up"`
	Running int `json:"running"`
	// Problem is why the latest try failed; empty when it did not.
	Problem string `json:"problem,omitempty"`
}

func collectHooks(s Status, set func(string, float64, ...string)) {
	for _, h := range s.Hooks {
		set("hook_runs_total", float64(h.Done), h.Name, "done")
		set("hook_runs_total", float64(h.Failed), h.Name, "failed")
		set("hook_events_given_up_total", float64(h.GivenUp), h.Name)
		set("hook_running", float64(h.Running), h.Name)
	}
}
