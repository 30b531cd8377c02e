package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// news is one line that an observer wrote: at what time it came to hold what about
// whom.
type news struct {
	Time time.Time `json:"time"`
	Msg  string    `json:"msg"`
	Node string    `json:"node"`
	Life string    `json:"life"`
}

// What observers hold of a node. The agents' other lives do not matter here.
const (
	up     = "up"
	failed = "failed"
)

// watch follows a group of observers of the same nodes: the agents of a cluster, or
// plain members.
type watch struct {
	name  string
	nodes []string

	mu      sync.Mutex
	changed chan struct{}
	holds   map[[2]string]news // by observer and node
	// failures are all verdicts of failure since the last reset.
	failures []failure
	tail     map[string][]string
}

type failure struct {
	observer, node string
	at             time.Time
}

func newWatch(name string, nodes []string) *watch {
	return &watch{
		name: name, nodes: nodes, changed: make(chan struct{}), holds: map[[2]string]news{}, tail: map[string][]string{},
	}
}

// line takes a line of an observer's output.
func (w *watch) line(observer string, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tail[observer] = append(w.tail[observer], strings.TrimSpace(string(line)))
	if t := w.tail[observer]; len(t) > 20 {
		w.tail[observer] = t[len(t)-20:]
	}
	var n news
	if json.Unmarshal(line, &n) != nil || n.Msg != "verdict" {
		return
	}
	w.holds[[2]string{observer, n.Node}] = n
	if n.Life == failed {
		w.failures = append(w.failures, failure{observer, n.Node, n.Time})
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// forget drops what an observer held that was started anew.
func (w *watch) forget(observer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.holds, func(k [2]string, _ news) bool { return k[0] == observer })
}

// reset begins a trial: failures are counted from here.
func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = nil
}

// wrong counts the failures of nodes other than the victim, and those of the victim
// from before it was hit. An empty victim makes every failure wrong.
func (w *watch) wrong(victim string, since time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, f := range w.failures {
		if f.node != victim || f.at.Before(since) {
			n++
		}
	}
	return n
}

// all waits until every one of the observers holds that life of every one of the
// nodes, and returns when the last came to hold it.
func (w *watch) all(ctx context.Context, observers, nodes []string, life string) (time.Time, error) {
	for {
		w.mu.Lock()
		changed := w.changed
		last, missing := w.latest(observers, nodes, life)
		w.mu.Unlock()
		if missing == "" {
			return last, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s: %s", w.name, missing)
		}
	}
}

func (w *watch) latest(observers, nodes []string, life string) (last time.Time, missing string) {
	for _, o := range observers {
		for _, n := range nodes {
			h, ok := w.holds[[2]string{o, n}]
			if !ok || h.Life != life {
				return last, fmt.Sprintf("%s holds that %s is %q, not %q; its output ends with\n%s",
					o, n, h.Life, life, strings.Join(w.tail[o], "\n"))
			}
			if h.Time.After(last) {
				last = h.Time
			}
		}
	}
	return last, ""
}

// others are the nodes without one.
func others(nodes []string, but string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == but })
}
