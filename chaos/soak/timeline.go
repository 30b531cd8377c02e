package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"healer/chaos/fault"
	"healer/chaos/history"
	"healer/chaos/scenario"
)

// timeline makes the faults of a scenario, each in its time, and records them.
type timeline struct {
	world fault.World
	start time.Time
	hub   *hub
	log   func(format string, args ...any)

	mu      sync.Mutex
	active  map[*struck]struct{}
	records []*history.FaultRecord
	// together is the record of what all faults in force take away beyond what each
	// does.
	together *history.FaultRecord
	skipped  []string
	troubles []error
}

// struck is a fault that is in force.
type struck struct {
	fault  fault.Struck
	made   *fault.Active
	record *history.FaultRecord
}

func newTimeline(w fault.World, start time.Time, h *hub, log func(string, ...any)) *timeline {
	return &timeline{world: w, start: start, hub: h, log: log, active: map[*struck]struct{}{}}
}

// together is the kind of the records that no single fault has.
const together = "together"

// injectLimit and healLimit bound one fault's injection and healing.
const (
	injectLimit = 30 * time.Second
	healLimit   = 90 * time.Second
)

// run makes every fault and returns when the last has ended, or when all that still
// wait for an event wait in vain: patience after the others. Those without an end are
// left to heal.
func (t *timeline) run(ctx context.Context, events []scenario.Event, patience time.Duration) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var timed, all sync.WaitGroup
	for _, e := range events {
		all.Add(1)
		if e.After == "" {
			timed.Add(1)
		}
		go func() {
			defer all.Done()
			if e.After == "" {
				defer timed.Done()
			}
			t.one(ctx, waiting, e)
		}()
	}
	timed.Wait()
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	all.Wait()
}

// one makes one fault. waiting ends the wait for an event that does not come.
func (t *timeline) one(ctx, waiting context.Context, e scenario.Event) {
	from, at := t.start, e.At
	if e.After != "" {
		seen, ok := t.hub.await(waiting, e.After)
		if !ok {
			t.skip(e.Fault, e.After+" did not come")
			return
		}
		if e.Fault, ok = seen.resolve(e.Fault); !ok {
			t.skip(e.Fault, "nobody had that role at "+e.After)
			return
		}
		from = time.Now()
	}
	if !pause(ctx, time.Until(from.Add(at))) {
		return
	}
	s := t.inject(ctx, e.Fault)
	if s == nil || e.For == 0 {
		return
	}
	if pause(ctx, e.For) {
		t.end(ctx, s)
	}
}

// inject makes a fault, unless another one has what it needs for itself.
func (t *timeline) inject(ctx context.Context, f fault.Fault) *struck {
	s := &struck{fault: fault.Struck{Fault: f, On: f.Node}}
	if !t.claim(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, injectLimit)
	defer cancel()
	var err error
	s.made, err = fault.Inject(ctx, t.world, f)
	t.mu.Lock()
	s.fault.On = s.made.Node
	s.record.Note = s.made.Proof
	t.mu.Unlock()
	t.harm()
	switch {
	case errors.Is(err, fault.ErrMoot):
		t.skip(f, err.Error())
	case err != nil:
		t.trouble(err)
	}
	if err != nil {
		t.end(context.WithoutCancel(ctx), s)
		return nil
	}
	t.log("%s  %s: %s", since(t.start), f, s.made.Proof)
	return s
}

// claim records the fault as in force, from before it is made.
func (t *timeline) claim(s *struck) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.active {
		for _, r := range s.fault.Strikes() {
			if slices.Contains(other.fault.Strikes(), r) {
				t.skipped = append(t.skipped, fmt.Sprintf("%s: %s is in force", s.fault.Fault, other.fault.Fault))
				return false
			}
		}
	}
	s.record = &history.FaultRecord{Kind: string(s.fault.Kind), Target: s.fault.Target(), From: time.Since(t.start)}
	own := fault.HarmOf(t.world.Nodes(), []fault.Struck{s.fault})
	s.record.Lost, s.record.CostsMajority, s.record.Destroys, s.record.Rewinds = own.Lost, own.NoMajority, own.Destroys, own.Rewinds
	s.record.Spares, s.record.Skewed = own.Spares, own.Skewed
	t.active[s] = struct{}{}
	t.records = append(t.records, s.record)
	t.harmLocked()
	return true
}

// end heals a fault.
func (t *timeline) end(ctx context.Context, s *struck) {
	ctx, cancel := context.WithTimeout(ctx, healLimit)
	defer cancel()
	err := s.made.Heal(ctx)
	if err != nil {
		t.trouble(err)
		return
	}
	t.mu.Lock()
	s.record.Until = time.Since(t.start)
	delete(t.active, s)
	t.harmLocked()
	t.mu.Unlock()
	t.log("%s  %s ends", since(t.start), s.fault.Fault)
}

// heal ends every fault that is in force, but those of the nodes that are to stay lost.
// It may be called again.
func (t *timeline) heal(ctx context.Context, but ...string) error {
	t.mu.Lock()
	left := slices.Collect(maps.Keys(t.active))
	t.troubles = nil
	t.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range left {
		if !slices.Contains(but, s.fault.Node) {
			all.Go(func() { t.end(ctx, s) })
		}
	}
	all.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.troubles...)
}

// harm records what the faults in force take away together.
func (t *timeline) harm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.harmLocked()
}

func (t *timeline) harmLocked() {
	var faults []fault.Struck
	single := map[string]bool{}
	costs := false
	for s := range t.active {
		faults = append(faults, s.fault)
		costs = costs || s.record.CostsMajority
		for _, n := range s.record.Lost {
			single[n] = true
		}
	}
	h := fault.HarmOf(t.world.Nodes(), faults)
	h.Lost = slices.DeleteFunc(h.Lost, func(n string) bool { return single[n] })
	h.NoMajority = h.NoMajority && !costs
	if t.together != nil && (h.NoMajority != t.together.CostsMajority || !slices.Equal(h.Lost, t.together.Lost)) {
		t.together.Until, t.together = time.Since(t.start), nil
	}
	if t.together == nil && (h.NoMajority || len(h.Lost) > 0) {
		t.together = &history.FaultRecord{
			Kind: together, Target: "all", From: time.Since(t.start), Lost: h.Lost, CostsMajority: h.NoMajority,
			Note: "what the faults in force take away together",
		}
		t.records = append(t.records, t.together)
	}
}

func (t *timeline) skip(f fault.Fault, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped = append(t.skipped, f.String()+": "+why)
}

func (t *timeline) trouble(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.troubles = append(t.troubles, err)
}

// faults are the records, in the order of time.
func (t *timeline) faults() []history.FaultRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]history.FaultRecord, 0, len(t.records))
	for _, r := range t.records {
		out = append(out, *r)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].From < out[j].From })
	return out
}

func (t *timeline) notMade() ([]string, []error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.skipped), slices.Clone(t.troubles)
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func since(start time.Time) string {
	s := time.Since(start).Round(time.Millisecond).String()
	return strings.Repeat(" ", max(0, 8-len(s))) + s
}
