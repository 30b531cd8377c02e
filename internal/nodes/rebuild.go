package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"healer/api"
	"healer/events"
	"healer/planner"
	"healer/postgres/engine"
	"healer/topology"
)

// rebuildOptions are the flags.
type rebuildOptions struct {
	node, from, bin               string
	dryRun, wipe, force, prepared bool
	jobs                          int
	pause, catchUp                time.Duration
	connections                   map[string]string
	slots                         []string
}

// rebuilt is the result of `healer node rebuild`.
type rebuilt struct {
	Node   string `json:"node"`
	Source string `json:"source"`
	Tables int    `json:"tables"`
	// Resumed is true when the rows of an earlier run were complete.
	Resumed bool     `json:"resumed"`
	Steps   []string `json:"steps"`
	Notes   []string `json:"notes,omitempty"`
	// Verified is true when all is done and all rows are equal.
	Verified     bool  `json:"verified"`
	RowsCopied   int64 `json:"rows_copied"`
	RowsCompared int64 `json:"rows_compared"`
	// PauseMS is how long the source did not apply its peers' changes.
	PauseMS int64 `json:"pause_ms"`
	// Sequences are those that were set, with what each gives next.
	Sequences []sequenceSet `json:"sequences,omitempty"`
	Event     string        `json:"event,omitempty"`
}

// rebuild is one run.
type rebuild struct {
	*mesh
	o      rebuildOptions
	result *rebuilt
	source string
	// peers are all nodes but the one that is rebuilt.
	peers  []string
	stale  []staleFence
	tables []engine.Replica
	// to has how the node will read from each peer, back how each peer will read
	// from the node.
	to, back map[string]engine.Link
	// out is where it says what it does.
	out    io.Writer
	began  time.Time
	phases map[string]int64
}

// planRebuild checks all that can be checked before anything is touched.
func (m *mesh) planRebuild(ctx context.Context, o rebuildOptions) (*rebuild, error) {
	r := &rebuild{
		mesh: m, o: o, result: &rebuilt{Node: o.node}, to: map[string]engine.Link{}, back: map[string]engine.Link{},
		out: io.Discard, phases: map[string]int64{},
	}
	if err := m.known(o.node); err != nil {
		return nil, err
	}
	for _, check := range []func() error{
		func() error { return m.readable(o.node) }, func() error { return m.majority("") },
		r.fit, r.quiet, r.unfinished, r.chooseSource,
		func() error { return r.links(ctx) }, func() error { return r.alike(ctx) }, func() error { return r.empty(ctx) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	r.describe()
	return r, nil
}

// target is the node as it was seen.
func (r *rebuild) target() topology.NodeState {
	n, _ := r.seen.Node(r.o.node)
	return n
}

// fit refuses a server that cannot take part.
func (r *rebuild) fit() error {
	n := r.target()
	fault := &topology.Fault{Class: topology.Permanent, Node: n.Name}
	blocked, is := n.Blocked()
	switch {
	case !n.Reachable:
		fault.Code, fault.Err = "node_unreachable", lastLine(n.Problem)
		fault.Hint = "start an empty server at its DSN, with the database " + r.Servers[n.Name].Database()
	case n.InRecovery:
		fault.Code, fault.Hint, fault.Err = "in_recovery", "on "+n.Name+": SELECT pg_promote()", errors.New("the server is a standby")
	case is:
		fault.Code, fault.Hint, fault.Err = "node_not_ready", blocked.Remedy, errors.New(blocked.Detail)
	default:
		return nil
	}
	return fault
}

// quiet refuses while another recovery is under way, or another node is fenced
// off: the source would have to stand still for that one as well.
func (r *rebuild) quiet() error {
	for _, n := range r.others(r.o.node) {
		r.peers = append(r.peers, n.Name)
		for _, f := range n.Fences {
			switch {
			case f.Origin == r.o.node:
			case r.leftBehind(n, f):
				r.stale = append(r.stale, staleFence{n.Name, f})
			default:
				return busy(n.Name, f.Origin)
			}
		}
		for _, g := range n.Gaps {
			if g.Origin != r.o.node {
				return busy(n.Name, g.Origin)
			}
		}
	}
	return nil
}

// staleFence is a fence that a run of this command left when it was killed while
// the source stood still.
type staleFence struct {
	node  string
	fence topology.Fence
}

// leftBehind reports whether a fence can only be such a one: of a node that lives
// and that no agent takes for lost, while an earlier run has begun.
func (r *rebuild) leftBehind(n topology.NodeState, f topology.Fence) bool {
	origin, _ := r.seen.Node(f.Origin)
	if _, gap := n.GapOf(f.Origin); gap || !origin.Reachable || !r.barredByUs() {
		return false
	}
	for _, s := range r.agents {
		for _, a := range s.Nodes {
			if a.Name == f.Origin && a.Life == api.LifeFailed {
				return false
			}
		}
	}
	return true
}

// reads reports whether n reads from p, or will once a stale fence is gone.
func (r *rebuild) reads(n topology.NodeState, p string) bool {
	sub, ok := n.From(p)
	return ok && (sub.Enabled || slices.ContainsFunc(r.stale, func(s staleFence) bool { return s.node == n.Name && s.fence.Origin == p }))
}

func busy(node, origin string) error {
	return &topology.Fault{
		Class: topology.Conflict, Code: "recovery_running", Node: node, Hint: "wait until " + origin + " is taken back: healer status",
		Err: fmt.Errorf("%s is fenced off, or its recovery is under way", origin),
	}
}

// barredByUs reports whether an earlier run has begun.
func (r *rebuild) barredByUs() bool {
	return slices.ContainsFunc(r.others(r.o.node), func(n topology.NodeState) bool {
		b, ok := n.BarOf(r.o.node)
		return ok && b.Reason == topology.BarRebuild
	})
}

// unfinished refuses while what the survivors have of the node is not equal: with
// the subscriptions goes the knowledge of who lacks what.
func (r *rebuild) unfinished() error {
	if r.barredByUs() || r.o.force {
		return nil
	}
	err := r.healed(r.o.node)
	var fault *topology.Fault
	if err == nil || (errors.As(err, &fault) && fault.Code == string(planner.SoleSurvivor)) {
		return nil
	}
	return &topology.Fault{
		Code: "not_verified", Node: r.o.node, Hint: "let the recovery end, or give up what only some survivors have with --force",
		Err: fmt.Errorf("no verified recovery stands behind the loss of %s: %w", r.o.node, err),
	}
}

// complete reports whether the rows of an earlier run are all there: the node's
// subscriptions were enabled, which comes after the last row.
func (r *rebuild) complete() bool {
	n := r.target()
	if !r.barredByUs() {
		return false
	}
	for _, p := range r.others(r.o.node) {
		b, _ := p.BarOf(r.o.node)
		sub, ok := n.From(p.Name)
		if !ok || !sub.Enabled || sub.Slot != r.to[p.Name].Slot || b.Identity.SystemID != n.Identity.SystemID {
			return false
		}
	}
	return true
}

// chooseSource picks the survivor to copy from: one that reads from all others.
func (r *rebuild) chooseSource() error {
	var missing string
	for _, n := range r.others(r.o.node) {
		if r.o.from != "" && n.Name != r.o.from {
			continue
		}
		i := slices.IndexFunc(r.peers, func(p string) bool {
			return p != n.Name && !r.reads(n, p)
		})
		if i < 0 {
			r.source, r.result.Source = n.Name, n.Name
			return nil
		}
		missing = fmt.Sprintf("%s does not read from %s", n.Name, r.peers[i])
	}
	if missing == "" {
		return &topology.Fault{
			Code: "node_unknown", Hint: fmt.Sprintf("name one of %v", r.peers),
			Err: fmt.Errorf("--from %s: it is not one of the survivors", r.o.from),
		}
	}
	return &topology.Fault{Code: "no_source", Hint: "healer node list", Err: errors.New("no survivor has everything: " + missing)}
}

// describe lists what will be done.
func (r *rebuild) describe() {
	r.result.Tables, r.result.Resumed = len(r.tables), r.complete()
	step := func(format string, args ...any) {
		r.result.Steps = append(r.result.Steps, fmt.Sprintf(format, args...))
	}
	if r.result.Resumed {
		step("the rows on %s are complete from an earlier run: go on with the way back", r.o.node)
	} else {
		step("bar %s on %v, and drop what is left of its slots and subscriptions", r.o.node, r.peers)
		step("make the schema of %s on %s if it is not there", r.source, r.o.node)
		step("make a slot for %s on every other survivor, and wait until %s has applied what came before", r.o.node, r.source)
		step("let %s stand still for its snapshot and slot, and copy %d tables under it", r.source, len(r.tables))
		step("let %s read from %v, each from where the snapshot ends", r.o.node, r.peers)
	}
	step("let %v read from %s", r.peers, r.o.node)
	step("compare all rows of all nodes, set the sequences of %s beyond them, and take it back", r.o.node)
	for _, n := range r.others(r.o.node) {
		for _, s := range n.Slots {
			if s.Kind == topology.SlotForeign && !s.Active && !slices.Contains(r.o.slots, n.Name+"/"+s.Name) {
				r.result.Notes = append(r.result.Notes, fmt.Sprintf(
					"nobody reads from slot %s on %s; if it fed %s: --slot %s/%s", s.Name, n.Name, r.o.node, n.Name, s.Name))
			}
		}
	}
}

// run does it.
func (r *rebuild) run(ctx context.Context) error {
	r.began = time.Now()
	for _, s := range r.stale {
		if err := r.Engine.Unfence(ctx, s.node, s.fence); err != nil {
			return err
		}
	}
	for _, p := range r.peers {
		if err := r.Engine.Bar(ctx, p, r.o.node, topology.BarRebuild, r.target().Identity); err != nil {
			return err
		}
	}
	stages := []stage{{"back", r.joinBack}, {"verify", r.verify}, {"sequences", r.setSequences}, {"release", r.release}}
	if !r.result.Resumed {
		stages = append([]stage{
			{"fence", r.fence},
			{"clear", r.clear},
			{"schema", r.schema},
			{"slots", r.makeSlots},
			{"copy", r.fill},
			{"catch_up", r.catchUp},
		}, stages...)
	}
	for _, s := range stages {
		began := time.Now()
		r.say("%s: %s", r.o.node, s.name)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r.phases[s.name] = time.Since(began).Milliseconds()
	}
	return nil
}

// say says a line.
func (r *rebuild) say(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

// stage is a part of a run.
type stage struct {
	name string
	do   func(context.Context) error
}

// release takes the node back: nothing bars it any more.
func (r *rebuild) release(ctx context.Context) error {
	for _, p := range r.peers {
		if err := r.Engine.Unbar(ctx, p, r.o.node); err != nil {
			return err
		}
	}
	// All rows have just been compared, those too that were still to be.
	for _, p := range r.others(r.o.node) {
		for _, o := range p.OwedTo(r.o.node) {
			if err := r.Engine.ForgetMark(ctx, p.Name, r.o.node, o.Mark); err != nil {
				return err
			}
		}
	}
	r.result.Verified, r.result.Event = true, "published"
	err := tell(ctx, r.cfg, r.fact(events.NodeRejoined, r.o.node), events.Rejoined{
		Node: r.o.node, Survivors: r.peers, DurationMS: time.Since(r.began).Milliseconds(), PhasesMS: r.phases, Run: "rebuild",
	})
	if err != nil {
		r.result.Event = "not published: " + err.Error()
	}
	return nil
}
