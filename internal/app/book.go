package app

import (
	"slices"
	"sync"

	"healer/executor"
)

// maxRuns is how many runs of all agents are remembered, beside those in this
// agent's own journal.
const maxRuns = 500

// book has the journal of every agent's runs, as the stream of events tells them.
type book struct {
	mu      sync.Mutex
	entries map[string][]executor.Entry
	// order are the runs in the order in which they were first heard of.
	order []string
}

func newBook() *book { return &book{entries: map[string][]executor.Entry{}} }

// take files an entry; of too many runs the one heard of first is forgotten.
func (b *book) take(e executor.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.entries[e.Run]; !known {
		b.order = append(b.order, e.Run)
		if len(b.order) > maxRuns {
			delete(b.entries, b.order[0])
			b.order = slices.Delete(b.order, 0, 1)
		}
	}
	b.entries[e.Run] = append(b.entries[e.Run], e)
}

// all returns every entry, run by run.
func (b *book) all() []executor.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []executor.Entry
	for _, run := range b.order {
		out = append(out, b.entries[run]...)
	}
	return out
}
