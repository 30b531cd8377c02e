package drive

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"healer/executor"
	"healer/internal/meter"
	"healer/planner"
	"healer/topology"
)

// progressWithin bounds the question how far a laggard is.
const progressWithin = time.Second

// pace follows a run by its journal, for the operator who waits for it.
type pace struct {
	executor.Recorder
	// progress asks how far the node has the lost one's transactions.
	progress func(ctx context.Context, node string) (topology.LSN, error)

	mu      sync.Mutex
	plan    planner.Plan
	running map[string]under
}

// under is a step under way.
type under struct {
	step  planner.Step
	since time.Time
}

// pace makes the follower of a run whose entries go on to journal.
func (m *mesh) pace(d *ran, journal executor.Recorder) *pace {
	return &pace{
		Recorder: journal, plan: d.Plan, running: map[string]under{},
		progress: func(ctx context.Context, node string) (topology.LSN, error) {
			n, _ := d.obs.Node(node)
			sub, ok := n.From(d.Plan.Node)
			if !ok {
				return 0, fmt.Errorf("%s does not read from %s", node, d.Plan.Node)
			}
			return m.Engine.Progress(ctx, node, sub.Origin, false)
		},
	}
}

// Record implements executor.Recorder.
func (p *pace) Record(entries ...executor.Entry) error {
	p.mu.Lock()
	for _, e := range entries {
		if e.Plan != nil && len(e.Plan.Steps) > 0 {
			p.plan = *e.Plan // behind the fences it is made anew
		}
		switch {
		case e.Step == nil:
		case e.Event == executor.EntryIntent:
			p.running[e.Step.ID] = under{*e.Step, time.Now()}
		case e.Event == executor.EntryStep:
			delete(p.running, e.Step.ID)
		}
	}
	p.mu.Unlock()
	return p.Recorder.Record(entries...)
}

// line says which steps are under way and for how long, and of what is carried how much is
// there already and how long the rest may take.
func (p *pace) line(_ time.Duration, bar bool) string {
	p.mu.Lock()
	steps := slices.SortedFunc(maps.Values(p.running), func(a, b under) int { return cmp.Compare(a.step.ID, b.step.ID) })
	plan := p.plan
	p.mu.Unlock()
	var parts []string
	for _, u := range steps {
		took := time.Since(u.since)
		name := strings.TrimSpace(string(u.step.Kind) + " " + u.step.Node)
		if u.step.Target != "" {
			name += "->" + u.step.Target
		}
		if carried := p.carried(plan, u.step, took, bar && len(steps) == 1); carried != "" {
			parts = append(parts, name+" "+carried)
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s", name, took.Round(time.Second)))
	}
	return strings.Join(parts, "; ")
}

// carried is how much of a lane's gap the laggard has, in the lost node's log; empty of
// other steps, and where it cannot be read.
func (p *pace) carried(plan planner.Plan, s planner.Step, took time.Duration, bar bool) string {
	i := slices.IndexFunc(plan.Lanes, func(l planner.Lane) bool { return l.Target == s.Target && l.Source == s.Node })
	if s.Kind != planner.StepSubscribe || i < 0 || plan.Lanes[i].To <= plan.Lanes[i].From {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), progressWithin)
	defer cancel()
	at, err := p.progress(ctx, s.Target)
	if err != nil {
		return ""
	}
	lane := plan.Lanes[i]
	done, all := float64(max(at, lane.From)-lane.From), float64(lane.To-lane.From)
	return fmt.Sprintf("%s of %s%s", meter.Part(done, all, bar), topology.SizeText(lane.To-lane.From), meter.Left(done, all, took))
}
