package compare

import (
	"slices"
	"time"
)

// Result is what a comparison as a whole came to.
type Result string

// The results. A difference that was found is one whatever else was not compared.
const (
	Equal      Result = "equal"
	Differ     Result = "differ"
	Incomplete Result = "incomplete"
)

// Report is what a comparison found.
type Report struct {
	Cluster string   `json:"cluster"`
	Nodes   []string `json:"nodes"`
	// Repair is set when differences were to be repaired.
	Repair  bool      `json:"repair"`
	Result  Result    `json:"result"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Rows is how many rows were compared: of each table those of the node that has
	// the most.
	Rows int64 `json:"rows"`
	// Differing counts the rows that truly differed, the Repaired of them included.
	Differing int64 `json:"differing"`
	Repaired  int64 `json:"repaired"`
	// Unsettled counts the rows of which nothing is known because they were
	// written faster than they could be compared.
	Unsettled int64 `json:"unsettled"`
	// Partial is set when there are differences that are not in the list, or may be.
	Partial bool    `json:"partial"`
	Tables  []Table `json:"tables"`
	// Differences are in the order of tables and keys within what was read at once.
	Differences []Difference `json:"differences"`
	Notes       []string     `json:"notes,omitempty"`
}

// LastBy counts the listed differences that a node's write won, and those that a
// deletion did.
func (r Report) LastBy(author string) (written, deleted int) {
	for _, d := range r.Differences {
		i := slices.IndexFunc(d.Versions, func(v Version) bool { return v.Node == d.Winner })
		switch {
		case d.Winner == "":
			deleted++
		case i >= 0 && d.Versions[i].Author == author:
			written++
		}
	}
	return written, deleted
}

// Unstamped counts the listed differences in which the node has a version whose
// commit timestamp is not known any more.
func (r Report) Unstamped(node string) (n int) {
	for _, d := range r.Differences {
		if slices.ContainsFunc(d.Versions, func(v Version) bool { return v.Node == node && v.Copies > 0 && v.At == nil }) {
			n++
		}
	}
	return n
}

// Table is the part of one table.
type Table struct {
	Table  string   `json:"table"`
	Method Method   `json:"method,omitempty"`
	Key    []string `json:"key,omitempty"`
	// Rows has the number of rows read on each node that has the table.
	Rows map[string]int64 `json:"rows,omitempty"`
	// Blocks is how many were compared, Unexplored how many of them differ and were
	// not gone into, because enough differences of the table are known.
	Blocks     int64 `json:"blocks"`
	Unexplored int64 `json:"unexplored,omitempty"`
	Differing  int64 `json:"differing"`
	Repaired   int64 `json:"repaired"`
	Unsettled  int64 `json:"unsettled"`
	// Listed is how many of its rows are in the list of differences.
	Listed int64 `json:"listed"`
	// Problem is why the table could not be compared, or not to its end.
	Problem string   `json:"problem,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Difference is one row that is not the same everywhere.
type Difference struct {
	Table string `json:"table"`
	// Key has the row's key, in the order of the table's; Row is the row itself,
	// shortened, in a table without a key.
	Key   []string `json:"key,omitempty"`
	Row   string   `json:"row,omitempty"`
	State string   `json:"state"`
	// Versions has the row as each node has it.
	Versions []Version `json:"versions"`
	// Winner is the node whose version stands by last update wins, Losers those
	// that a repair writes. No winner and losers: the row is to be deleted there.
	Winner string   `json:"winner,omitempty"`
	Losers []string `json:"losers,omitempty"`
	// Problem is why a repair was refused.
	Problem string `json:"problem,omitempty"`
}

// Version is a row as one node has it.
type Version struct {
	Node string `json:"node"`
	// Copies is how often the row is there: with a key, 0 or 1.
	Copies int64 `json:"copies"`
	// Digest tells contents apart; only equality means anything.
	Digest string `json:"digest,omitempty"`
	// Author is the node that wrote it, At when; empty when that is not known.
	Author string     `json:"author,omitempty"`
	At     *time.Time `json:"at,omitempty"`
}

// conclude sums the tables up.
func (r *Report) conclude() {
	wanting := len(r.Tables) == 0
	for i := range r.Tables {
		t := &r.Tables[i]
		var rows int64
		for _, n := range t.Rows {
			rows = max(rows, n)
		}
		r.Rows += rows
		r.Differing += t.Differing
		r.Repaired += t.Repaired
		r.Unsettled += t.Unsettled
		r.Partial = r.Partial || t.Partial()
		wanting = wanting || t.Problem != "" || t.Unsettled > 0 || t.Unexplored > 0
	}
	switch {
	case r.Differing > r.Repaired:
		r.Result = Differ
	case wanting:
		r.Result = Incomplete
	default:
		r.Result = Equal
	}
}

// Partial reports whether there are, or may be, differences that are not listed.
func (t *Table) Partial() bool {
	return t.Unexplored > 0 || t.Listed < t.Differing+t.Unsettled
}
