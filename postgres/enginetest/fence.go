package enginetest

import (
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/postgres/engine"
	"healer/topology"
)

func lostID() topology.Identity { return topology.Identity{SystemID: 42, Timeline: 3} }

// wantFenced checks that subscription and mark agree, and that nothing runs.
func (r rig) wantFenced(node, lost string, fence topology.Fence) {
	r.Helper()
	// A worker that was started for what was read before the fence may show for a
	// moment: it ends when it reads the subscription itself.
	r.within("no worker behind the fence", func() bool {
		sub, _ := r.observed(node).From(lost)
		return sub.Enabled || sub.Worker != topology.WorkerBusy
	})
	n := r.observed(node)
	sub, _ := n.From(lost)
	got, ok := n.FenceOf(lost)
	fence.Made = got.Made // only the catalog has it
	if sub.Enabled || sub.Worker == topology.WorkerBusy || !ok || !cmp.Equal(got, fence) || got.Made == 0 || len(n.Fences) != 1 {
		r.Errorf("%s: subscription %+v, fences %+v, want %+v", node, sub, n.Fences, fence)
	}
}

// wantOpen checks that n1 reads from n3.
func (r rig) wantOpen() {
	r.Helper()
	n := r.observed("n1")
	if sub, ok := n.From("n3"); !ok || !sub.Enabled || len(n.Fences) > 0 {
		r.Errorf("subscription %+v, fences %+v", sub, n.Fences)
	}
}

// made is the transaction that made the fence, as it is observed.
func (r rig) made(node, lost string) uint32 {
	r.Helper()
	fence, _ := r.observed(node).FenceOf(lost)
	return fence.Made
}

// stranger: what somebody else has disabled is not Healer's to mark, nor to enable.
func stranger(r rig) {
	ctx := r.Context()
	sub := r.subscribed("n1", "n3")
	r.exec("n1", r.Disable(sub.Name))
	fence, err := r.e.Fence(ctx, "n1", sub, lostID())
	if err != nil || fence.Mark != "" || fence.Origin != "n3" {
		r.Fatalf("fence %+v %v", fence, err)
	}
	r.try(r.e.Unfence(ctx, "n1", fence))
	n := r.observed("n1")
	if sub, _ := n.From("n3"); sub.Enabled || len(n.Fences) > 0 {
		r.Errorf("subscription %+v, fences %+v", sub, n.Fences)
	}
	r.wantFault(r.e.Barrier(ctx, []engine.Pair{{From: "n3", To: "n1"}}), topology.Permanent, "subscription_disabled")
	r.try(r.e.Enable(ctx, "n1", sub.ID))
	r.wantOpen()
}

// hanging: the provider's host takes what is sent and says nothing.
func hanging(r rig) {
	ctx := r.Context()
	sub := r.subscribed("n1", "n3")
	r.try(r.mesh.Node("n3").Freeze(ctx))
	state, err := r.e.Drain(ctx, "n1", sub, time.Minute)
	if err != nil || state != topology.WorkerIdle {
		r.Fatalf("drained: %v %v", state, err)
	}
	fence, err := r.e.Fence(ctx, "n1", sub, lostID())
	r.try(err)
	r.wantFenced("n1", "n3", fence)
	r.mesh.Node("n3").Thaw()
	r.try(r.e.Unfence(ctx, "n1", fence))
	r.wantOpen()
}

// dead: two agents fence a dead node off at once, again and again, and one lets it in.
func dead(r rig) {
	ctx := r.Context()
	sub := r.subscribed("n1", "n3")
	r.try(r.mesh.Kill(ctx, "n3"))
	var fences [4]topology.Fence
	var wg sync.WaitGroup
	for i, agent := range []*engine.Engine{r.e, r.other, r.e, r.other} {
		wg.Go(func() {
			var err error
			if fences[i], err = agent.Fence(ctx, "n1", sub, lostID()); err != nil {
				r.Error(err)
			}
		})
	}
	wg.Wait()
	want := topology.Fence{Subscription: sub.Name, Origin: "n3", Identity: lostID(), Mark: fences[0].Mark}
	for _, f := range fences {
		if !cmp.Equal(f, want) || f.Mark == "" {
			r.Errorf("fence %+v, want %+v", f, want)
		}
	}
	r.wantFenced("n1", "n3", want)
	// A later reading of the identity does not replace the one of the loss.
	again, err := r.e.Fence(ctx, "n1", sub, topology.Identity{SystemID: 43, Timeline: 1})
	if err != nil || !cmp.Equal(again, want) {
		r.Errorf("again %+v %v", again, err)
	}
	if !value[bool](r, "n1", r.Knows, "n3") {
		r.Error("n1 does not know of n3 any more: the evidence is gone")
	}
	first := r.made("n1", "n3")
	r.back("n3")
	r.exec("n3", "INSERT INTO kv VALUES (500, 'late')")
	for range 2 {
		r.try(r.other.Unfence(ctx, "n1", want))
	}
	r.wantOpen()
	// Another fence has the same name, and is told from it all the same.
	anew, err := r.e.Fence(ctx, "n1", sub, lostID())
	if now := r.made("n1", "n3"); err != nil || anew.Mark != want.Mark || now == first || now == 0 {
		r.Errorf("fenced off anew by %+v, made by %d, the first by %d: %v", anew, now, first, err)
	}
	r.try(r.other.Unfence(ctx, "n1", anew))
	r.wantOpen()
	r.streaming()
	r.within("replication resumes", func() bool {
		return value[int](r, "n1", "SELECT count(*)::int FROM kv WHERE k = 500") == 1
	})
	r.caughtUp()
}
