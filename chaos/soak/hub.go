package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"healer/chaos/fault"
	"healer/chaos/scenario"
	"healer/events"
)

// hub gets events as they happen, and lets faults wait for them.
type hub struct {
	mu   sync.Mutex
	seen []moment
	// told are the events themselves, without entries of journals.
	told []events.Event
	cast map[scenario.Role]string
	more chan struct{}
}

// moment is an event under the name by which a schedule waits for it, with who had
// which role then.
type moment struct {
	name  string
	roles map[scenario.Role]string
}

func newHub() *hub { return &hub{cast: map[scenario.Role]string{}, more: make(chan struct{})} }

// entry is what is read of an entry of a journal, and of a plan.
type entry struct {
	Event string `json:"event"`
	Agent string `json:"agent"`
	Node  string `json:"node"`
	Plan  *struct {
		Source string `json:"source"`
	} `json:"plan"`
	Step *struct {
		Kind   string `json:"kind"`
		Node   string `json:"node"`
		Target string `json:"target"`
	} `json:"step"`
}

// hear takes an event.
func (h *hub) hear(e events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := string(e.Kind())
	if e.Kind() == events.JournalEntry {
		var x entry
		if json.Unmarshal(e.Data, &x) != nil {
			return
		}
		h.learn(scenario.Victim, x.Node)
		h.learn(scenario.Actor, x.Agent)
		if x.Plan != nil {
			h.learn(scenario.Source, x.Plan.Source)
		}
		if x.Step == nil || x.Event != "intent" {
			return
		}
		if x.Step.Target != "" {
			h.learn(scenario.Source, x.Step.Node)
			h.learn(scenario.Laggard, x.Step.Target)
		}
		name = "step " + x.Step.Kind
	} else {
		h.told = append(h.told, e)
		if strings.HasPrefix(name, "recovery.") {
			h.learn(scenario.Victim, e.Subject)
			h.learn(scenario.Actor, e.Source[strings.LastIndexByte(e.Source, '/')+1:])
		}
	}
	roles := map[scenario.Role]string{}
	for r, n := range h.cast {
		roles[r] = n
	}
	h.seen = append(h.seen, moment{name, roles})
	close(h.more)
	h.more = make(chan struct{})
}

func (h *hub) learn(r scenario.Role, node string) {
	if node != "" {
		h.cast[r] = node
	}
}

// await returns the first moment of a name; false when ctx ends before.
func (h *hub) await(ctx context.Context, name string) (moment, bool) {
	for from := 0; ; {
		h.mu.Lock()
		seen, more := h.seen, h.more
		h.mu.Unlock()
		for ; from < len(seen); from++ {
			if seen[from].name == name {
				return seen[from], true
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return moment{}, false
		}
	}
}

// awaitAll waits until what is expected has come; it says what has not when ctx ends.
func (h *hub) awaitAll(ctx context.Context, x scenario.Expect) []string {
	for {
		h.mu.Lock()
		told, more := h.told, h.more
		h.mu.Unlock()
		missing := x.Missing(told)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return missing
		}
	}
}

// ahead is an error when an event was heard that is not among these.
func (h *hub) ahead(of []events.Event) error {
	there := map[string]bool{}
	for _, e := range of {
		there[e.ID] = true
	}
	for _, e := range h.heard() {
		if !there[e.ID] {
			return fmt.Errorf("%s of %s (%s) was told, and is not in the stream", e.Kind(), e.Subject, e.ID)
		}
	}
	return nil
}

// heard are the events so far.
func (h *hub) heard() []events.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}

// count is how many events there were of each kind.
func (h *hub) count() map[string]int {
	out := map[string]int{}
	for _, e := range h.heard() {
		out[string(e.Kind())]++
	}
	return out
}

// resolve puts nodes in the place of roles; false when nobody had one of them, or when
// two are the same node.
func (m moment) resolve(f fault.Fault) (fault.Fault, bool) {
	for _, name := range []*string{&f.Node, &f.Peer} {
		if scenario.IsRole(*name) {
			*name = m.roles[scenario.Role(*name)]
			if *name == "" {
				return f, false
			}
		}
	}
	return f, f.Node != f.Peer || f.Node == "" || f.Link == fault.SQL
}
