package planner_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"healer/planner"
	"healer/topology"
)

// drawWorld makes a mesh at the moment its node n00 died.
func drawWorld(t *rapid.T) *world {
	w := &world{peers: map[string]*peer{}, fail: t.Fatalf}
	w.memory = topology.Memory{Identity: topology.Identity{SystemID: 9, Timeline: 1}, Confirmed: map[string]topology.LSN{}}
	at := topology.LSN(0x100)
	for range rapid.IntRange(1, 12).Draw(t, "transactions") {
		at += topology.LSN(rapid.IntRange(1, 0x40).Draw(t, "length"))
		w.log = append(w.log, at)
	}
	w.rows = rapid.Bool().Draw(t, "rows may stand in")
	size := rapid.IntRange(2, 16).Draw(t, "nodes")
	perfect := rapid.Bool().Draw(t, "all slots kept")
	for i := 1; i < size; i++ {
		w.peers[fmt.Sprintf("n%02d", i)] = &peer{
			up: true, enabled: true, applied: map[topology.LSN]int{}, carried: map[topology.LSN]bool{},
			slots: map[string]string{}, clones: map[string]bool{},
		}
	}
	for _, name := range w.names() {
		p := w.peers[name]
		if has := rapid.IntRange(0, len(w.log)).Draw(t, name+" has"); has > 0 {
			w.apply(name, w.log[has-1], false)
			p.received = rapid.IntRange(has, len(w.log)).Draw(t, name+" has received")
		} else if perfect || rapid.Bool().Draw(t, name+" is remembered") {
			w.memory.Confirmed[name] = topology.LSN(rapid.IntRange(1, 0x100).Draw(t, name+" had confirmed"))
		}
		for _, to := range w.names() {
			status := "reserved"
			if !perfect {
				status = rapid.SampledFrom([]string{"reserved", "reserved", "extended", "lost", ""}).Draw(t, name+" slot for "+to)
			}
			if to != name && status != "" {
				p.slots[to] = status
			}
		}
	}
	return w
}

// sound reports whether nothing in the mesh could excuse a refusal: every slot
// is kept, every position remembered, a majority is up.
func (w *world) sound() bool {
	up := 0
	for name, p := range w.peers {
		if p.seen() {
			up++
		}
		if p.progress == 0 && p.mark == nil && w.memory.Confirmed[name] == 0 {
			return false
		}
		for to := range w.peers {
			if status, ok := p.slots[to]; to != name && (!ok || status == "lost") {
				return false
			}
		}
	}
	return up > 1 && 2*up > len(w.peers)+1
}

// revive brings back every node but the lost one.
func (w *world) revive() {
	for _, p := range w.peers {
		p.up, p.hidden = true, false
	}
}

// excuses are the reasons for which a mesh that is not sound may be refused.
func excuses() []planner.Reason {
	return []planner.Reason{
		planner.NoSurvivors, planner.SoleSurvivor, planner.NoMajority,
		planner.SlotMissing, planner.SlotLost, planner.ProgressUnknown,
	}
}

func (w *world) plan(k planner.Kind) (planner.Plan, *planner.Refusal) {
	tr := planner.Trigger{Kind: k, Node: lost, Incarnation: "1.1", Lost: w.lostNow(), Silent: w.silent(), Memory: w.memory}
	plan, refusal := planner.Make(tr, w.observe(), planner.Policy{Mode: planner.ModeAuto, Rows: w.rows})
	if refusal == nil && !plan.Empty() && !cmp.Equal(plan.Absent, tr.Silent, cmpopts.EquateEmpty()) && k == planner.Recovery {
		w.fail("%v do not answer, the plan says %v", tr.Silent, plan.Absent)
	}
	tr.Lost = shuffled(tr.Lost, uint64(len(plan.Steps)))
	again, _ := planner.Make(tr, w.observe(), planner.Policy{Mode: planner.ModeAuto, Rows: w.rows})
	if diff := cmp.Diff(plan, again); diff != "" {
		w.fail("two agents make different plans:\n%s", diff)
	}
	return plan, refusal
}

// heal plans and runs until the plan is empty or refused, with runs killed and
// nodes lost and back in between, so often at most.
func heal(t *rapid.T, w *world, most int) (healed bool) {
	trouble := rapid.IntRange(0, most).Draw(t, "trouble")
	stop := func(s planner.Step) bool {
		if trouble == 0 || rapid.IntRange(0, 3).Draw(t, "trouble before "+string(s.Kind)) > 0 {
			return false
		}
		trouble--
		switch rapid.SampledFrom([]string{"agent", "memory", "halfway", "source", "anybody", "hide", "revive"}).Draw(t, "what happens") {
		case "agent":
		case "memory": // another agent goes on, which knows nothing
			w.memory.Confirmed = map[string]topology.LSN{}
		case "halfway":
			w.half(s)
		case "source":
			if p, ok := w.peers[s.Node]; ok {
				w.half(s)
				p.up = false
			}
		case "anybody":
			w.peers[rapid.SampledFrom(w.names()).Draw(t, "victim")].up = false
		case "hide":
			w.peers[rapid.SampledFrom(w.names()).Draw(t, "hidden")].hidden = true
		case "revive":
			w.revive()
		}
		return true
	}
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "next step") }
	for round := 0; ; round++ {
		if round > 10 {
			t.Fatalf("no end of plans:\n%s", w)
		}
		plan, refusal := w.plan(planner.Recovery)
		switch {
		case refusal != nil && w.sound():
			t.Fatalf("a sound mesh is refused: %v\n%s", refusal, w)
		case refusal != nil && !slices.Contains(excuses(), refusal.Reason):
			t.Fatalf("refused for %v\n%s", refusal, w)
		case refusal != nil && w.rows && (refusal.Reason == planner.SlotMissing || refusal.Reason == planner.SlotLost):
			t.Fatalf("refused for want of a log, although rows may stand in: %v\n%s", refusal, w)
		case refusal != nil && (refusal.Why == "" || refusal.Remedy == ""):
			t.Fatalf("a refusal that helps nobody: %+v", refusal)
		case refusal != nil:
			return false
		case plan.Empty():
			return true
		}
		w.run(plan, func() (planner.Plan, *planner.Refusal) { return w.plan(planner.Recovery) }, stop, pick)
	}
}

// checkHealed checks what an empty plan promises.
func checkHealed(t *rapid.T, w *world) {
	newest := w.newest()
	for _, name := range w.names() {
		p := w.peers[name]
		if !p.seen() {
			continue
		}
		for _, tx := range w.log {
			if tx <= newest && p.applied[tx] != 1 {
				t.Fatalf("%s has transaction %s %d times", name, tx, p.applied[tx])
			}
		}
		if len(p.carried) > 0 || p.mark != nil || len(p.clones) > 0 || !p.fence || p.enabled {
			t.Fatalf("%s is left with unverified %v, mark %v, clones %v, fence %v", name, p.carried, p.mark, p.clones, p.fence)
		}
	}
}

// Survivors converge, every transaction is applied once and in order, a plan
// after a success is empty, and no kill on the way changes any of that. Then the
// lost node comes back, and the mesh is as it was.
func TestPlansHealTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		// With trouble twice, and then with everybody back.
		for _, trouble := range []int{6, 6, 0} {
			w.revive()
			if !heal(t, w, trouble) {
				return
			}
			checkHealed(t, w)
		}
		w.backUp = true
		plan, refusal := w.plan(planner.Rejoin)
		if refusal != nil {
			t.Fatalf("the node is not taken back: %v\n%s", refusal, w)
		}
		w.run(plan, nil, func(planner.Step) bool { return false }, func(n int) int {
			return rapid.IntRange(0, n-1).Draw(t, "next step")
		})
		for _, name := range w.names() {
			if p := w.peers[name]; p.up && (p.fence || !p.enabled || p.progress != w.log[len(w.log)-1]) {
				t.Fatalf("%s is not part of the mesh again:\n%s", name, w)
			}
		}
		if plan, refusal = w.plan(planner.Rejoin); refusal != nil || !plan.Empty() {
			t.Fatalf("after the rejoin there is still something to do: %v %v", plan.Steps, refusal)
		}
	})
}

// The node comes back at any point of its recovery, and somebody else may take fences
// away: whatever is left to do is done by some plan, and it is taken back in the end.
func TestNodeReturnsDuringItsRecovery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		if !w.sound() {
			t.Skip("only sound meshes get that far")
		}
		left := rapid.IntRange(0, 40).Draw(t, "steps before it is back")
		stop := func(planner.Step) bool {
			left--
			w.backUp = w.backUp || left < 0
			return left == -1
		}
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "next step") }
		recovery := func() (planner.Plan, *planner.Refusal) { return w.plan(planner.Recovery) }
		plan, _ := recovery()
		w.run(plan, recovery, stop, pick)
		w.backUp = true
		for _, name := range w.names() {
			if w.peers[name].up && rapid.IntRange(0, 3).Draw(t, "somebody lets "+name+" read again") == 0 {
				w.letIn(name)
			}
		}
		for round := 0; ; round++ {
			plan, refusal := w.plan(planner.Rejoin)
			if refusal == nil && plan.Empty() {
				break
			}
			if refusal != nil && refusal.Reason == planner.RecoveryUnfinished {
				plan, refusal = recovery()
			}
			if refusal != nil || round > 4 {
				t.Fatalf("stuck: %v\n%s", refusal, w)
			}
			w.run(plan, recovery, func(planner.Step) bool { return false }, pick)
		}
		for _, name := range w.names() {
			if p := w.peers[name]; p.fence || !p.enabled || p.mark != nil || len(p.clones) > 0 || len(p.carried) > 0 {
				t.Fatalf("%s is not part of the mesh again:\n%s", name, w)
			}
		}
	})
}

// Whatever is observed, a plan's steps wait only for steps before them, have
// ids of their own, and never act on a lost node or on one that did not answer.
func TestPlansAreWellFormed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for _, name := range w.names() {
			w.peers[name].up = rapid.IntRange(0, 3).Draw(t, name+" is up") > 0
		}
		plan, refusal := w.plan(planner.Recovery)
		if refusal != nil {
			if !plan.Empty() {
				t.Fatalf("refused and yet %d steps", len(plan.Steps))
			}
			return
		}
		seen := map[string]bool{}
		for _, s := range plan.Steps {
			for _, id := range s.After {
				if !seen[id] {
					t.Fatalf("%s waits for a step that does not come before it", s.Kind)
				}
			}
			if seen[s.ID] {
				t.Fatalf("two steps %s have one id", s.Kind)
			}
			seen[s.ID] = true
			for _, n := range []string{s.Node, s.Target} {
				if p, ok := w.peers[n]; n == lost || (ok && !p.up) {
					t.Fatalf("%s acts on %s, which is lost", s.Kind, n)
				}
			}
		}
	})
}
