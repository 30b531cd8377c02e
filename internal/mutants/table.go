package mutants

// Mutant is a deliberate bug.
type Mutant struct {
	Name string
	// What it does wrong, for the documentation.
	What string
	// Plot is the only plot that concerns it; empty when others may provoke it as well.
	Plot  string
	edits []edit
}

// edit puts a text in the place of another one, which the file has exactly once.
type edit struct{ file, old, with string }

// All are the mutants there are.
func All() []Mutant {
	return []Mutant{
		{Name: "skip_last", What: "the filter by origin ends one LSN before the watermark", edits: []edit{
			{"rescue/gap.go", `lsn > g.Floor && lsn <= g.Watermark`, `lsn > g.Floor && lsn < g.Watermark`},
		}},
		{Name: "apply_twice", What: "a recovery that is resumed applies the whole gap again", Plot: "healer", edits: []edit{
			{"rescue/replay.go", `r.tx.apply = r.tx.mine && m.lsn > r.applied`, `r.tx.apply = r.tx.mine`},
		}},
		{Name: "ignore_fence", What: "a recovery fences nobody off", edits: []edit{
			{
				"internal/steps/fence.go", `func (r *Run) checkFence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {`,
				`func (r *Run) checkFence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
					if p.Node != "" { return true, "let it be", nil }`,
			},
			{"planner/survivor.go", `s.fenced = marked && !sub.Enabled`, `s.fenced = true || !sub.Enabled`},
		}},
		{Name: "advance_too_far", What: "recovery slots advance whatever their peers lack", edits: []edit{
			{"keeper/history.go", `missing := lacking(p, peer)`, `missing := lacking(p, peer)[:0]`},
		}},
		{Name: "no_origin", What: "transactions are applied without an origin, so that the mesh forwards them", edits: []edit{
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
		{Name: "own_time", What: "transactions that are carried many at a time get the time of the recovery, not that of their commit", edits: []edit{
			{
				"rescue/program.go", `pg_replication_origin_xact_setup(healer_lsn, healer_at)`,
				`pg_replication_origin_xact_setup(healer_lsn, healer_at + (pg_catalog.clock_timestamp() - healer_at))`,
			},
		}},
		{Name: "drop_barrier", What: "nobody waits for what is on its way between the survivors", Plot: "late", edits: []edit{
			{
				"postgres/engine/barrier.go", `func (e *Engine) Barrier(ctx context.Context, pairs []Pair) error {`,
				`func (e *Engine) Barrier(ctx context.Context, pairs []Pair) error {
					if len(pairs) > 0 { return nil }`,
			},
		}},
		{Name: "no_compare", What: "the rows that the gap touched are not compared", edits: []edit{
			{"internal/steps/verify.go", `report, err := r.compare(ctx, p, touched)`, `report, err := rescue.VerifyReport{}, error(nil)`},
		}},
		{Name: "oldest_wins", What: "of two versions of a row the older one wins", Plot: "late", edits: []edit{
			{"rescue/decide.go", `return a.beats(b)`, `return b.beats(a)`},
		}},
		{Name: "leak_clone", What: "the clone of a recovery slot is not dropped", edits: []edit{
			{"internal/steps/gap.go", `if err := r.Engine.DropSlot(ctx, s.Node, slot.Name); err != nil {`, `if err := error(nil); err != nil {`},
		}},
		{Name: "no_majority", What: "one member alone judges", Plot: "majority", edits: []edit{
			{"detector/decide.go", `return len(j.voters)/2 + 1`, `return 1`},
		}},
		{Name: "many_ids", What: "an event's id depends on who reports it", edits: []edit{
			{"events/event.go", `SpecVersion: "1.0", ID: f.ID(),`, `SpecVersion: "1.0", ID: Hash(f.ID(), agent),`},
		}},
		{Name: "two_appliers", What: "every agent acts, and the right to apply is shared: who finds the origin taken waits for it", edits: []edit{
			{"internal/app/triggers.go", `return len(order) > 0 && order[0] == s.self`, `return len(order) > 0`},
			{"rescue/session.go", `lock(ctx, s.conn, "pg_try_advisory_lock", s`, `lock(ctx, s.conn, "pg_try_advisory_lock_shared", s`},
			{
				"rescue/session.go", `return held(s.target.Node, err)`,
				`if _, werr := rows(ctx, s.conn, "SELECT pg_catalog.pg_sleep(0.05)"); werr != nil {
					return held(s.target.Node, err)
				}
				return s.takeOrigin(ctx)`,
			},
			{"planner/recovery.go", `if slices.Contains(s.Applying, p.Node) {`, `if slices.Contains(s.Applying, p.Node) && t.Node == "" {`},
		}},
		{Name: "untold", What: "a verified recovery is not told of", edits: []edit{
			{
				"executor/announce.go", "func (r *run) announceVerified() {\n\tif len(r.plan.Lanes) == 0 {",
				"func (r *run) announceVerified() {\n\tif r.plan.Node != \"\" {",
			},
		}},
	}
}
