package history

import "time"

// FaultRecord is one fault of a run, as it was in force.
type FaultRecord struct {
	// Kind is the fault's name in scenarios, such as server_kill.
	Kind string `json:"kind"`
	// Target is what it befell: a node, or two of them as "n1>n2".
	Target string `json:"target"`
	// From is when its injection began, Until when its healing had ended; 0 while it
	// was not healed.
	From  time.Duration `json:"from"`
	Until time.Duration `json:"until,omitempty"`
	Note  string        `json:"note,omitempty"`

	// Lost are the nodes whose servers a majority of the agents could not talk to
	// because of it: a verdict of failed about these is right.
	Lost []string `json:"lost,omitempty"`
	// Spares is true when these may as well have gone on, as with a full disk.
	Spares bool `json:"spares,omitempty"`
	// CostsMajority is true when no majority of the agents could agree on anything
	// while it lasted: nobody may act then.
	CostsMajority bool `json:"costs_majority,omitempty"`
	// Destroys are the origins of which it may have taken away what a recovery needs,
	// as a slot that a stranger drops: a survivor may stay behind them, if a refusal
	// says so.
	Destroys []string `json:"destroys,omitempty"`
	// Rewinds are the nodes that it took back to an older state, as a restored backup
	// does: they may lack what they had acknowledged.
	Rewinds []string `json:"rewinds,omitempty"`
	// Skewed are the nodes whose agents had another time than the run: the times of
	// what these told say nothing.
	Skewed []string `json:"skewed,omitempty"`
}

// Over is when the fault ended; end where it was not healed.
func (f FaultRecord) Over(end time.Duration) time.Duration {
	if f.Until == 0 {
		return end
	}
	return f.Until
}
