package mutants

// Mutant is a deliberate bug.
type Mutant struct {
	Name string
	// What it does wrong, for the documentation.
	What  string
	edits []edit
}

// edit puts a text in the place of another one, which the file has exactly once.
type edit struct{ file, old, with string }

// All are the mutants there are.
func All() []Mutant {
	return []Mutant{
		{"skip_last", "the filter by origin ends one LSN before the watermark", []edit{
			{"rescue/gap.go", `lsn > g.Floor && lsn <= g.Watermark`, `lsn > g.Floor && lsn < g.Watermark`},
		}},
		{"apply_twice", "a recovery that is resumed applies the whole gap again", []edit{
			{"rescue/replay.go", `r.tx.apply = r.tx.mine && m.lsn > r.applied`, `r.tx.apply = r.tx.mine`},
		}},
		{"ignore_fence", "a recovery fences nobody off", []edit{
			{
				"internal/steps/fence.go", `func (r *Run) checkFence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {`,
				`func (r *Run) checkFence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
					if p.Node != "" { return true, "let it be", nil }`,
			},
		}},
		{"advance_too_far", "recovery slots advance whatever their peers lack", []edit{
			{"keeper/history.go", `missing := lacking(p, peer)`, `missing := lacking(p, peer)[:0]`},
		}},
		{"no_origin", "transactions are applied without an origin, so that the mesh forwards them", []edit{
			{"rescue/session.go", "`SELECT pg_catalog.pg_replication_origin_session_setup($1)`", "`SELECT $1::text`"},
			{
				"rescue/session.go", "`SELECT coalesce(pg_catalog.pg_replication_origin_session_progress($1), '0/0')`",
				`"SELECT coalesce(pg_catalog.pg_replication_origin_progress("+quoteLiteral(s.target.OriginName)+", $1), '0/0')"`,
			},
			{
				"rescue/session.go", `SELECT pg_catalog.pg_replication_origin_xact_setup('%s', '%s');`,
				"SELECT pg_catalog.pg_replication_origin_advance(`+quoteLiteral(s.target.OriginName)+`, '%s'), '%s';",
			},
			{"rescue/apply.go", `"SELECT pg_catalog.pg_replication_origin_xact_setup($1, $2)"`, `"SELECT $1::pg_lsn, $2::timestamptz"`},
			{
				"rescue/program.go", `healer_ok := pg_catalog.pg_replication_origin_xact_setup(healer_lsn, healer_at) IS NULL;`,
				`healer_ok := healer_lsn IS NOT NULL AND healer_at IS NOT NULL;`,
			},
			{"rescue/copying.go", `"SELECT pg_catalog.pg_replication_origin_xact_setup('%s', '%s');`, `"SELECT '%s', '%s';`},
		}},
		{"own_time", "transactions get the time of the recovery, not that of their commit", []edit{
			{
				"rescue/program.go", `pg_replication_origin_xact_setup(healer_lsn, healer_at)`,
				`pg_replication_origin_xact_setup(healer_lsn, healer_at + (pg_catalog.clock_timestamp() - healer_at))`,
			},
		}},
		{"drop_barrier", "nobody waits for what is on its way between the survivors", []edit{
			{
				"postgres/engine/barrier.go", `func (e *Engine) Barrier(ctx context.Context, pairs []Pair) error {`,
				`func (e *Engine) Barrier(ctx context.Context, pairs []Pair) error {
					if len(pairs) > 0 { return nil }`,
			},
		}},
		{"no_compare", "the rows that the gap touched are not compared", []edit{
			{"internal/steps/verify.go", `report, err := r.compare(ctx, p, touched)`, `report, err := rescue.VerifyReport{}, error(nil)`},
		}},
		{"oldest_wins", "of two versions of a row the older one wins", []edit{
			{"rescue/decide.go", `return a.beats(b)`, `return b.beats(a)`},
		}},
		{"leak_clone", "the clone of a recovery slot is not dropped", []edit{
			{"internal/steps/gap.go", `if err := r.Engine.DropSlot(ctx, s.Node, slot.Name); err != nil {`, `if err := error(nil); err != nil {`},
		}},
		{"no_majority", "one member alone judges", []edit{
			{"detector/decide.go", `return len(j.voters)/2 + 1`, `return 1`},
		}},
		{"many_ids", "an event's id depends on who reports it", []edit{
			{"events/event.go", `SpecVersion: "1.0", ID: f.ID(),`, `SpecVersion: "1.0", ID: Hash(f.ID(), agent),`},
		}},
		{"untold", "a verified recovery is not told of", []edit{
			{
				"executor/announce.go", "func (r *run) announceVerified() {\n\tif len(r.plan.Lanes) == 0 {",
				"func (r *run) announceVerified() {\n\tif r.plan.Node != \"\" {",
			},
		}},
	}
}
