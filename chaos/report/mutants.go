package report

import (
	"fmt"
	"strings"
)

// Caught is what became of a deliberate bug in the soak.
type Caught struct {
	Mutant string `json:"mutant"`
	What   string `json:"what"`
	// Plot is the only one that was drawn; empty when all were.
	Plot string `json:"plot,omitempty"`
	// Runs is how many it took, or how many there were when it was not caught.
	Runs int `json:"runs"`
	// Seed is that of the run that caught it, Checkers are those that did; none when
	// nobody has.
	Seed     uint64   `json:"seed,omitempty"`
	Checkers []string `json:"checkers,omitempty"`
}

// The table of mutants stands between these lines of the document.
const (
	mutantsBegin = "<!-- mutants: written by make chaos-mutants -->"
	mutantsEnd   = "<!-- mutants: end -->"
)

// RewriteMutants puts the table of mutants into the document.
func RewriteMutants(document string, all []Caught) error {
	return between(document, mutantsBegin, mutantsEnd, Mutants(all))
}

// Mutants is the table of mutants.
func Mutants(all []Caught) string {
	var b strings.Builder
	b.WriteString("| bug | what it does | plot | caught in run | seed | by |\n|---|---|---|---:|---:|---|\n")
	for _, c := range all {
		plot := "any"
		if c.Plot != "" {
			plot = "`" + c.Plot + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s ", c.Mutant, c.What, plot)
		if len(c.Checkers) == 0 {
			fmt.Fprintf(&b, "| **not in %d** | | |\n", c.Runs)
			continue
		}
		fmt.Fprintf(&b, "| %d | %d | `%s` |\n", c.Runs, c.Seed, strings.Join(c.Checkers, "`, `"))
	}
	return b.String()
}
