package show

import (
	"fmt"
	"time"

	"healer/events"
	"healer/topology"
)

// Update is something that has happened in the run. It is one of the types
// below.
type Update interface{ update() }

// Stamp is when an update happened, from the start of the run.
type Stamp time.Duration

// Clock shows a stamp as seconds of the run.
func (s Stamp) Clock() string { return fmt.Sprintf("%6.2fs", time.Duration(s).Seconds()) }

// Step is a step of the scenario that begins, or ends when Took is not zero.
type Step struct {
	At Stamp
	// Name tells the step from others; What says what is done in it, or at
	// its end what came of it.
	Name, What string
	Ended      bool
	Took       time.Duration
	Err        error
}

// Note is a line for the reader.
type Note struct {
	At   Stamp
	Text string
}

// Life is what a node's processes are and how its peers judge it.
type Life struct {
	At   Stamp
	Node string
	// Server and Agent say whether the processes run.
	Server, Agent bool
	// Verdict is how the surviving agents judge the node: alive, suspect,
	// failed, returned; empty when nobody has said.
	Verdict string
}

// Progress is how far every node has applied every other.
type Progress struct {
	At Stamp
	// Heads has each node's own newest position; a node that cannot be read
	// is absent and keeps its last.
	Heads map[string]topology.LSN
	// Applied has, for each node, its progress of each origin.
	Applied map[string]map[string]topology.LSN
	// Fenced has, for each node, the origins it is fenced off from.
	Fenced map[string][]string
}

// Rates is what the workload does.
type Rates struct {
	At    Stamp
	Nodes []Rate
}

// Rate is what is written on one node.
type Rate struct {
	Node string
	// PerSecond is the present rate of transactions, Total their number.
	PerSecond float64
	Total     int64
	// Pause is the longest time that a writer did not get through.
	Pause time.Duration
}

// Cut says that a link is cut, or whole again.
type Cut struct {
	At       Stamp
	From, To string
	Whole    bool
}

// Happened is an event as it came over NATS.
type Happened struct {
	At    Stamp
	Event events.Event
}

// Killed is the moment of the kill, from which times are counted.
type Killed struct {
	At   Stamp
	Node string
}

// Result is the end of the run, line by line.
type Result struct {
	At    Stamp
	Good  bool
	Lines []string
}

func (Step) update()     {}
func (Note) update()     {}
func (Life) update()     {}
func (Progress) update() {}
func (Rates) update()    {}
func (Cut) update()      {}
func (Happened) update() {}
func (Killed) update()   {}
func (Result) update()   {}

// Presenter draws updates. Show may be called from several goroutines and
// returns soon.
type Presenter interface {
	Show(u Update)
	// Close returns when everything has been drawn and the terminal is as it
	// was.
	Close() error
}
