package check

import "fmt"

// checker is one promise: find returns every breach of it.
type checker struct {
	name string
	find func(*facts) []string
}

// checkers are all promises, in the order in which they are reported.
func checkers() []checker {
	return []checker{
		{"missing", missing},
		{"lost_commit", lostCommit},
		{"phantom", phantom},
		{"twice", twice},
		{"atomic", atomic},
		{"sums", sums},
		{"order", order},
		{"equal", equal},
		{"last_update", lastUpdate},
		{"progress", progress},
		{"leaks", leaks},
		{"verdicts", verdicts},
		{"majority", majority},
		{"healed", healed},
		{"event_schema", eventSchema},
		{"event_unique", eventUnique},
		{"event_order", eventOrder},
		{"event_complete", eventComplete},
		{"retention", retention},
		{"fence", fenced},
		{"one_applier", oneApplier},
		{"carried_once", carriedOnce},
	}
}

// Names are those of all checkers.
func Names() []string {
	all := make([]string, 0, len(checkers()))
	for _, c := range checkers() {
		all = append(all, c.name)
	}
	return all
}

// mostDetails is how many breaches of one promise are told of each by itself.
const mostDetails = 10

// Check finds every promise that the run broke; none when it is nil.
func Check(r Run) []Violation {
	f := gather(r)
	var all []Violation
	for _, c := range checkers() {
		found := c.find(f)
		for i, detail := range found {
			if i == mostDetails {
				all = append(all, Violation{c.name, fmt.Sprintf("and %d more", len(found)-i)})
				break
			}
			all = append(all, Violation{c.name, detail})
		}
	}
	return all
}
