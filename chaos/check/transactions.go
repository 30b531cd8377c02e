package check

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"time"

	"healer/chaos/history"
)

// missing: what any survivor has of a transaction all have.
func missing(f *facts) (found []string) {
	for _, id := range f.received {
		if f.excused(origin(id)) {
			continue
		}
		var have, lack []string
		for _, s := range f.Servers {
			if _, ok := f.journals[s.Node][id]; ok {
				have = append(have, s.Node)
			} else {
				lack = append(lack, s.Node)
			}
		}
		if len(lack) > 0 {
			found = append(found, fmt.Sprintf("transaction %s is on %v and not on %v", f.name(id), have, lack))
		}
	}
	return found
}

// name is a transaction with what its client was told.
func (f *facts) name(id string) string {
	t, ok := f.byID[id]
	if !ok {
		return id
	}
	return fmt.Sprintf("%s (%s, %s at %s)", id, t.Kind, t.Outcome, t.Ended.Round(time.Millisecond))
}

// lostCommit: what a survivor has acknowledged it has.
func lostCommit(f *facts) (found []string) {
	for _, t := range f.Transactions {
		journal, survives := f.journals[t.Node]
		if !survives || t.Outcome != history.Committed || t.Entries == 0 || f.rewound(t.Node) {
			continue
		}
		if _, ok := journal[t.ID]; !ok {
			found = append(found, fmt.Sprintf("transaction %s is not on %s itself", f.name(t.ID), t.Node))
		}
	}
	return found
}

// phantom: what failed is nowhere, and nothing is there that no client wrote.
func phantom(f *facts) (found []string) {
	for _, id := range f.received {
		t, known := f.byID[id]
		switch {
		case !known:
			found = append(found, fmt.Sprintf("transaction %s is on a server, and no client wrote it", id))
		case t.Outcome == history.Failed:
			found = append(found, fmt.Sprintf("transaction %s is on a server: %s", f.name(id), t.Error))
		}
	}
	return found
}

// entries goes through all journals in order.
func (f *facts) entries(look func(node string, e history.Entry)) {
	for _, s := range f.Servers {
		for _, id := range slices.Sorted(maps.Keys(f.journals[s.Node])) {
			look(s.Node, f.journals[s.Node][id])
		}
	}
}

// twice: no row of the journal is there more than once.
func twice(f *facts) (found []string) {
	f.entries(func(node string, e history.Entry) {
		if e.Rows > e.Distinct {
			found = append(found, fmt.Sprintf("transaction %s: %s has %d rows of it, of which %d differ", f.name(e.Transaction), node, e.Rows, e.Distinct))
		}
	})
	return found
}

// atomic: a transaction's rows of the journal are all there, and no others.
func atomic(f *facts) (found []string) {
	f.entries(func(node string, e history.Entry) {
		if e.Distinct != e.Of {
			found = append(found, fmt.Sprintf("transaction %s: %s has %d rows of its %d", f.name(e.Transaction), node, e.Distinct, e.Of))
		}
	})
	return found
}

// sums: what is only moved between the accounts of a node is as much as ever,
// whenever anybody looks.
func sums(f *facts) (found []string) {
	want := map[string]int64{}
	for _, t := range f.Transactions {
		for _, o := range t.Operations {
			if n, err := strconv.ParseInt(o.Value, 10, 64); err == nil && o.Kind == history.Insert && o.Table == "account" && t.Outcome != history.Failed {
				want[t.Node] += n
			}
		}
	}
	look := func(what, node, got string) {
		if w := strconv.FormatInt(want[node], 10); got != w {
			found = append(found, fmt.Sprintf("%s the accounts of %s add up to %s, want %s", what, node, got, w))
		}
	}
	for _, t := range f.Transactions {
		for _, o := range t.Operations {
			if o.Kind == history.Read && t.Outcome == history.Committed {
				look(fmt.Sprintf("%s, read on %s at %s:", t.ID, t.Node, t.Ended.Round(time.Millisecond)), o.Key, o.Value)
			}
		}
	}
	for _, s := range f.Servers {
		for _, node := range slices.Sorted(maps.Keys(s.Sums)) {
			look("at the end on "+s.Node, node, s.Sums[node])
		}
	}
	return found
}

// streamed is how many rows a transaction may have so that it is certainly sent as a
// whole: of larger ones the servers' ids do not tell the order.
const streamed = 100

// order: what an origin acknowledged before another of its transactions began every
// other server has applied before that one.
func order(f *facts) (found []string) {
	for _, s := range f.Servers {
		of := map[string][]history.Entry{}
		for _, e := range s.Journal {
			if _, known := f.byID[e.Transaction]; known && e.Of <= streamed && origin(e.Transaction) != s.Node {
				of[origin(e.Transaction)] = append(of[origin(e.Transaction)], e)
			}
		}
		for _, from := range slices.Sorted(maps.Keys(of)) {
			found = append(found, f.inOrder(s.Node, of[from])...)
		}
	}
	return found
}

// inOrder looks for a transaction that was applied behind one that began after its end.
func (f *facts) inOrder(node string, all []history.Entry) (found []string) {
	sort.SliceStable(all, func(i, j int) bool { return all[i].First < all[j].First })
	var latest history.Transaction
	for _, e := range all {
		t := f.byID[e.Transaction]
		if latest.ID != "" && t.Outcome == history.Committed && t.Ended < latest.Began {
			found = append(found, fmt.Sprintf("%s has applied %s before %s, which had ended %s before that began",
				node, f.name(latest.ID), f.name(t.ID), (latest.Began-t.Ended).Round(time.Microsecond)))
		}
		if latest.ID == "" || t.Began > latest.Began {
			latest = t
		}
	}
	return found
}
