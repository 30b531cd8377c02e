package enginetest

import (
	"healer/topology"
)

// slots: a recovery slot is made by way of a seed, cloned, moved and dropped, and each of
// that may be repeated.
func slots(r rig) {
	ctx := r.Context()
	r.wantFault(r.e.Promote(ctx, "n1", "n2"), topology.Permanent, "42704")
	for range 2 {
		r.try(r.e.CreateSeed(ctx, "n1", "n2"))
	}
	s, ok := r.slot(seedSlot)
	if !ok || s.Kind != topology.SlotSeed || s.To != "n2" || s.Plugin != r.Plugin || s.Active {
		r.Fatalf("seed %+v %v", s, ok)
	}
	for range 2 {
		r.try(r.e.Promote(ctx, "n1", "n2"))
	}
	rec, ok := r.slot(recSlot)
	if _, left := r.slot(seedSlot); left || !ok || rec.Kind != topology.SlotRecovery || rec.To != "n2" || rec.Confirmed != s.Confirmed {
		r.Fatalf("recovery slot %+v %v, seed left %v", rec, ok, left)
	}
	r.exec("n1", "INSERT INTO kv SELECT i, 'x' FROM generate_series(300, 399) i")
	lsn, err := r.e.Flush(ctx, "n1")
	r.try(err)
	for range 2 {
		r.try(r.e.CloneSlot(ctx, "n1", recSlot, cloneSlot))
	}
	c, ok := r.slot(cloneSlot)
	if !ok || c.Kind != topology.SlotClone || c.To != "n2" || c.Origin != "n3" || c.Confirmed != rec.Confirmed || c.RetainedBytes == 0 {
		r.Fatalf("clone %+v %v", c, ok)
	}
	r.try(r.e.StandbySnapshot(ctx, "n1"))
	at, err := r.e.AdvanceSlot(ctx, "n1", cloneSlot, lsn)
	if err != nil || at <= c.Confirmed || at > lsn {
		r.Fatalf("advanced to %v, from %v, flushed %v: %v", at, c.Confirmed, lsn, err)
	}
	if back, err := r.e.AdvanceSlot(ctx, "n1", cloneSlot, c.Confirmed); err != nil || back != at {
		r.Errorf("back to %v: %v", back, err)
	}
	if now, _ := r.slot(recSlot); now.Confirmed != rec.Confirmed {
		r.Error("the recovery slot moved with its clone")
	}
	for _, name := range []string{cloneSlot, recSlot, seedSlot} {
		for range 2 {
			r.try(r.e.DropSlot(ctx, "n1", name))
		}
	}
}

// adopts: a slot that Spock made is taken over, and its clone has the engine's plugin.
func adopts(r rig) {
	ctx := r.Context()
	other := "pgoutput" // every server has it
	if r.Plugin == other {
		other = "test_decoding"
	}
	r.exec("n1", "SELECT pg_create_logical_replication_slot($1, $2)", recSlot, other)
	r.try(r.e.CloneSlot(ctx, "n1", recSlot, cloneSlot))
	if c, ok := r.slot(cloneSlot); !ok || c.Plugin != r.Plugin {
		r.Errorf("clone %+v %v", c, ok)
	}
	r.try(r.e.DropSlot(ctx, "n1", cloneSlot))
	r.try(r.e.DropSlot(ctx, "n1", recSlot))
}

// decodes: of all that a recovery slot's log has, the transactions of one author behind a
// position of its are found.
func decodes(r rig) {
	ctx := r.Context()
	for _, peer := range []string{"n2", "n3"} {
		r.subscribed("n1", peer)
	}
	_, err := r.e.EnsurePublication(ctx, "n1")
	r.try(err)
	if again, err := r.e.EnsurePublication(ctx, "n1"); err != nil || again {
		r.Errorf("what it decodes with was made anew: %v", err)
	}
	r.try(r.e.CreateSeed(ctx, "n1", "n2"))
	r.try(r.e.Promote(ctx, "n1", "n2"))
	r.exec("n3", "INSERT INTO kv VALUES (400, 'before')")
	r.caughtUp()
	from := r.subscribed("n1", "n3").Progress
	for i := range 3 {
		r.exec("n3", "INSERT INTO kv VALUES ($1, 'n3')", 410+i)
		r.exec("n2", "INSERT INTO kv VALUES ($1, 'n2')", 420+i)
		r.exec("n1", "INSERT INTO kv VALUES ($1, 'n1')", 430+i)
	}
	r.caughtUp()
	_, err = r.e.Flush(ctx, "n1")
	r.try(err)
	n, err := r.e.CountForeign(ctx, "n1", recSlot, r.subscribed("n1", "n3"), from)
	if err != nil || n != 3 {
		r.Errorf("the log has %d transactions of n3 behind %s, want 3: %v", n, from, err)
	}
	r.try(r.e.DropSlot(ctx, "n1", recSlot))
}
