package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"healer/chaos/check"
)

// Result is the result of one run, as a line of JSON.
type Result struct {
	Seed  uint64 `json:"seed"`
	Name  string `json:"name,omitempty"`
	Plot  string `json:"plot,omitempty"`
	Nodes int    `json:"nodes"`
	// PG is PostgreSQL's major version. Of nodes with several it is the oldest, and
	// Majors are those of n1, n2 and so on.
	PG     int   `json:"pg"`
	Majors []int `json:"pg_nodes,omitempty"`
	// Faults are the kinds of the faults that were made.
	Faults     []string          `json:"faults"`
	Violations []check.Violation `json:"violations"`
	// RTOMS is the longest time from a loss to its verified recovery, in milliseconds;
	// 0 when nothing was recovered.
	RTOMS float64 `json:"rto_ms"`
	// Healings are the losses, each with the times of its detection and recovery.
	Healings []check.Healing `json:"healings,omitempty"`
	// Transactions is how many the clients made, TookMS how long the run took.
	Transactions int   `json:"transactions"`
	TookMS       int64 `json:"took_ms"`
	// Load is the machine's load average of the minute in which the run ended; 0 when
	// it is not known.
	Load float64 `json:"load,omitempty"`
	// Skipped are faults that were not made.
	Skipped []string `json:"skipped,omitempty"`
	// Trouble is what kept the harness from judging the run; it is no verdict.
	Trouble string `json:"trouble,omitempty"`
	// Kept is where all that may explain a failure is.
	Kept string `json:"kept,omitempty"`
}

// Failed reports whether the run has shown a fault of Healer's, or of the harness.
func (r Result) Failed() bool { return len(r.Violations) > 0 || r.Trouble != "" }

// PostgreSQL is what the nodes ran: "18", or "16, 18, 17".
func (r Result) PostgreSQL() string {
	if len(r.Majors) == 0 {
		return strconv.Itoa(r.PG)
	}
	words := make([]string, len(r.Majors))
	for i, major := range r.Majors {
		words[i] = strconv.Itoa(major)
	}
	return strings.Join(words, ", ")
}

// Read reads results from JSON lines. Fields that it does not know it passes over.
func Read(r io.Reader) ([]Result, error) {
	dec := json.NewDecoder(r)
	var all []Result
	for {
		var x Result
		err := dec.Decode(&x)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err == nil && (x.Nodes < 1 || x.PG < 1) {
			err = fmt.Errorf("nodes is %d and pg is %d: this is no result of a run", x.Nodes, x.PG)
		}
		if err != nil {
			return nil, fmt.Errorf("result %d: %w", len(all)+1, err)
		}
		all = append(all, x)
	}
}

// judged are the results of the runs that could be judged.
func judged(all []Result) []Result {
	return slices.DeleteFunc(slices.Clone(all), func(r Result) bool { return r.Trouble != "" })
}

// percentile is the smallest value that p percent of all do not exceed (the nearest
// rank); 0 of none.
func percentile(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := int(p/100*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// kindly is the kind of a fault as words.
func kindly(kind string) string { return strings.ReplaceAll(kind, "_", " ") }
