package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Peer is a survivor to compare.
type Peer struct {
	Node string
	// Conn is an open connection to the survivor's database. Verify changes its
	// settings and uses it alone while it runs; it stays the caller's to close.
	Conn *pgconn.PgConn
	// Authors maps the names of the node's replication origins to nodes.
	Authors map[string]string
	// Tables are those the node replicates; nil means every touched one.
	Tables []topology.TableName
	// Apart is set for a survivor from which the others do not read now, because it is
	// back and not admitted yet. What it has written or deleted meanwhile reaches them
	// over its stream, in its order: Verify leaves that to the stream, because a row that
	// is there ahead of its INSERT keeps an apply worker from going on.
	Apart bool
}

// Policy bounds a verification. A zero field means the default.
type Policy struct {
	// Rounds is how often a row that is being written may be read again
	// before the verification gives up as unsettled: 20 by default.
	Rounds int
	// Repairs is how often one row may be repaired: 3 by default.
	Repairs int
	// Batch is the number of rows read at once: 500 by default.
	Batch int
	// Conflicts decides which version of a truly divergent row the survivors get.
	// Under Stop nothing is repaired.
	Conflicts Resolution
	// Contested rows, versions of which different nodes have written, are not
	// repaired when it is set. Source is a node whose rows stand, whatever the others
	// have; Conflicts says nothing then. A table that it has not is a Fault.
	Contested bool
	Source    string
	// ReportOnly repairs nothing: a true divergence is a Fault at once.
	ReportOnly bool
}

func (p Policy) complete() Policy {
	for _, d := range []struct {
		field *int
		value int
	}{{&p.Rounds, 20}, {&p.Repairs, 3}, {&p.Batch, 500}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return p
}

// VerifyReport is what a verification found.
type VerifyReport struct {
	// Rows is the number of touched keys that were compared, Differing how many
	// of them were truly divergent, Repaired how many were made equal.
	Rows      int64 `json:"rows"`
	Differing int64 `json:"differing"`
	Repaired  int64 `json:"repaired"`
	// Tables has the tables that were compared, sorted by name.
	Tables []VerifyTable `json:"tables,omitempty"`
	// Conflicts has an entry for each row on each survivor that was repaired, or
	// that stays different.
	Conflicts topology.ConflictLog `json:"conflicts"`
}

// VerifyTable is the part of one table.
type VerifyTable struct {
	Table     string `json:"table"`
	Rows      int64  `json:"rows"`
	Differing int64  `json:"differing"`
	Repaired  int64  `json:"repaired"`
}

// Barrier returns when every survivor has applied what every other survivor had
// committed when it was called.
type Barrier func(ctx context.Context) error

// maxSuspects bounds how many rows that differ are in memory before they are judged.
const maxSuspects = 20_000

// namedKeys is how many keys a Fault names.
const namedKeys = 20

// Verify compares every touched row on all peers and repairs what differs as the
// policy has it.
//
// Rows that differ may be on their way: only what differs in the same versions
// before and after a barrier is a true divergence. A repair is written on the
// losers with the winner's commit timestamp, under an origin that the mesh does
// not forward, and only over the very version that was compared, so that it never
// replaces a concurrent write. What was repaired is compared again.
//
// It fails with a permanent Fault "diverged" which names the keys that still
// differ, and with a transient Fault "unsettled" when rows are written faster
// than they can be compared. The report is valid with an error too.
func Verify(ctx context.Context, peers []Peer, touched []*Touched, barrier Barrier, policy Policy) (report VerifyReport, err error) {
	all, err := merge(touched)
	if err != nil {
		return report, err
	}
	v := &verifier{touched: all, barrier: barrier, policy: policy.complete(), contests: true}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	if !slices.Contains(touched, all) {
		defer func() { err = errors.Join(err, all.Close()) }()
	}
	if err := v.join(ctx, peers); err != nil {
		return report, err
	}
	err = v.run(ctx)
	for _, t := range v.tables {
		report.add(t.report)
	}
	report.Conflicts = v.conflicts
	return report, err
}

func (r *VerifyReport) add(t VerifyTable) {
	r.Rows += t.Rows
	r.Differing += t.Differing
	r.Repaired += t.Repaired
	r.Tables = append(r.Tables, t)
}

type verifier struct {
	survivors []*survivor
	touched   *Touched
	barrier   Barrier
	policy    Policy
	tables    []*compared
	// unsettled are the rows which have been given up because they are written too
	// often.
	unsettled []*suspect
	// stuck are the rows that differ for good.
	stuck     []*suspect
	conflicts topology.ConflictLog
	// contests lets one of two rows go that have the same unique value. judged are
	// the rows under judgement, added those that have to be looked at as well.
	contests      bool
	judged, added []*suspect
	// deletions stand in for logs that are lost.
	deletions []Deletion
}

// compared is a table under comparison.
type compared struct {
	name    topology.TableName
	columns []string
	// whole rows are compared by how often each node has them; see bag.go.
	whole bool
	// on are the survivors that replicate the table, each with its definition.
	on     []*replica
	names  []string
	report VerifyTable
}

// replica is a table as one survivor has it.
type replica struct {
	*survivor
	tab *table
	key []keyColumn
}

// suspect is a row that is not known to be equal everywhere.
type suspect struct {
	table *compared
	key   Key
	touch *touch
	// versions is the last reading, seen the latest version ever read, for each
	// replica.
	versions  []version
	seen      []stamp
	divergent bool
	// found is the reading in which the row was first known to be divergent.
	found []version
	// ruling is the first decision by which a repair was tried.
	ruling  *verdict
	repairs int
	// problem is why a repair was refused.
	problem error
	// inTheWay is the row of that survivor which stands against it, if one does.
	inTheWay *otherRow
}

func (v *verifier) run(ctx context.Context) error {
	var suspects []*suspect
	for _, name := range v.touched.names() {
		t, err := v.open(ctx, name, v.touched.tables[name].columns)
		if err != nil {
			return err
		}
		if len(t.on) < 2 {
			continue // nothing to be equal to
		}
		v.tables = append(v.tables, t)
		if v.touched.tables[name].sweep {
			if err := v.sweep(ctx, t, v.touched.tables[name]); err != nil {
				return err
			}
		}
		found, err := v.compare(ctx, t, v.touched.tables[name])
		if err != nil {
			return err
		}
		suspects = append(suspects, found...)
	}
	suspects, err := v.judgeAll(ctx, suspects)
	suspects = append(suspects, v.unsettled...)
	switch {
	case err != nil:
		return err
	case len(suspects) > 0:
		return unsettled(suspects)
	case len(v.stuck) == 0:
		return nil
	case v.policy.Conflicts == Stop:
		return &topology.Fault{
			Class: topology.Permanent, Code: "conflict_stopped",
			Err:  fmt.Errorf("%d rows differ between the survivors: %s", len(v.stuck), list(v.stuck)),
			Hint: "make the named rows equal by hand or choose another recovery.conflicts, then run the recovery again",
		}
	default:
		return diverged(v.stuck)
	}
}

// judgeAll judges the suspects, a barrier before each time, until it is known of
// each what it is; it returns those that did not settle in the rounds allowed.
func (v *verifier) judgeAll(ctx context.Context, suspects []*suspect) ([]*suspect, error) {
	for round := 0; len(suspects) > 0 && round < v.policy.Rounds; round++ {
		// Whoever frees workers meanwhile needs the repair origins.
		if err := v.release(ctx); err != nil {
			return nil, err
		}
		if err := v.barrier(ctx); err != nil {
			return nil, fmt.Errorf("barrier: %w", err)
		}
		var err error
		if suspects, err = v.judge(ctx, suspects); err != nil {
			return nil, err
		}
	}
	return suspects, nil
}

// compare reads all touched rows of a table and returns those that differ.
func (v *verifier) compare(ctx context.Context, t *compared, touched *touchedTable) ([]*suspect, error) {
	var found []*suspect
	batch := make([]*suspect, 0, v.policy.Batch)
	flush := func() error {
		if err := v.read(ctx, t, batch); err != nil {
			return err
		}
		for _, s := range batch {
			if !equal(s.versions) {
				found = append(found, s)
			}
		}
		t.report.Rows += int64(len(batch))
		batch = batch[:0]
		if len(found) < maxSuspects {
			return nil
		}
		left, err := v.judgeAll(ctx, found)
		v.unsettled = append(v.unsettled, left...)
		found = nil
		return err
	}
	err := v.touched.each(touched, func(id string, e *touch) error {
		if touched.wiped != nil {
			e.deleted(*touched.wiped)
		}
		batch = append(batch, &suspect{table: t, key: decodeKey(id), touch: e})
		if len(batch) == cap(batch) {
			return flush()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, flush()
}

// judge reads the suspects again after a barrier, lets go those that are equal
// now, repairs the true divergences, and returns who must be looked at again.
func (v *verifier) judge(ctx context.Context, suspects []*suspect) ([]*suspect, error) {
	before := make(map[*suspect][]version, len(suspects))
	byTable := map[*compared][]*suspect{}
	for _, s := range suspects {
		before[s] = s.versions
		byTable[s.table] = append(byTable[s.table], s)
	}
	v.judged = suspects
	var again []*suspect
	for _, t := range v.tables {
		for batch := range slices.Chunk(byTable[t], v.policy.Batch) {
			if err := v.read(ctx, t, batch); err != nil {
				return nil, err
			}
			var todo []*suspect
			for _, s := range batch {
				keep, repair := v.settle(s, before[s])
				if keep {
					again = append(again, s)
				}
				if repair {
					todo = append(todo, s)
				}
			}
			if err := v.repairAll(ctx, t, todo); err != nil {
				return nil, err
			}
		}
	}
	// What is to go goes first.
	again = append(v.added, slices.DeleteFunc(again, func(s *suspect) bool { return slices.Contains(v.added, s) })...)
	v.added = nil
	return again, nil
}

// settle decides about one suspect: whether it is to be looked at again, and whether
// it is to be repaired before.
func (v *verifier) settle(s *suspect, before []version) (again, repair bool) {
	if equal(s.versions) && !s.goes() {
		if s.divergent {
			s.table.report.Repaired++
		}
		return false, false
	}
	if !slices.Equal(before, s.versions) {
		return true, false // somebody writes it: look again
	}
	if v.coming(s) {
		return false, false
	}
	if !s.divergent {
		s.divergent, s.found = true, s.versions
		s.table.report.Differing++
	}
	if v.policy.Contested && !s.table.whole && s.contested() {
		s.problem = errContested
	}
	if v.policy.ReportOnly || v.policy.Conflicts == Stop || s.refused() || s.repairs == v.policy.Repairs {
		v.stuck = append(v.stuck, s)
		v.leave(s)
		return false, false
	}
	s.repairs++
	return true, true
}

// coming reports whether a survivor that is apart has written the row last, or may have
// deleted it: its stream has that for the others.
func (v *verifier) coming(s *suspect) bool {
	if s.table.whole {
		return false
	}
	for i, r := range s.table.on {
		switch has := s.versions[i]; {
		case !r.apart:
		case has.present && has.stamp.author == r.node,
			!has.present && v.decide(s, s.versions).winner >= 0:
			return true
		}
	}
	return false
}

// goes reports whether all survivors have a version that has lost to another row.
func (s *suspect) goes() bool { return s.versions[0].present && s.touch.beaten(s.versions[0].stamp) }

// refused reports whether a survivor's constraint stands against the repair.
func (s *suspect) refused() bool { return s.problem != nil }

func (v *verifier) release(ctx context.Context) error {
	errs := make([]error, 0, len(v.survivors))
	for _, s := range v.survivors {
		errs = append(errs, s.release(ctx))
	}
	return errors.Join(errs...)
}

func diverged(stuck []*suspect) error {
	err := fmt.Errorf("%d rows differ between the survivors: %s", len(stuck), list(stuck))
	for _, s := range stuck {
		if s.problem != nil {
			err = fmt.Errorf("%w; a repair failed: %w", err, s.problem)
			break
		}
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "diverged", Err: err,
		Hint: "make the named rows equal by hand, then run the recovery again",
	}
}

func unsettled(suspects []*suspect) error {
	return &topology.Fault{
		Class: topology.Transient, Code: "unsettled",
		Err: fmt.Errorf("%d rows are written faster than they can be compared: %s",
			len(suspects), list(suspects)),
	}
}

func list(rows []*suspect) string {
	rows = slices.Clone(rows)
	name := func(s *suspect) string {
		if s.table.whole {
			return s.table.name.String() + s.wholeName()
		}
		parts := make([]string, len(s.key))
		for i, v := range s.key {
			parts[i] = s.table.on[0].key[i].name + "=" + v
		}
		return s.table.name.String() + "(" + strings.Join(parts, ", ") + ")"
	}
	names := make([]string, len(rows))
	for i, s := range rows {
		names[i] = name(s)
	}
	slices.Sort(names)
	if len(names) > namedKeys {
		names = append(names[:namedKeys], "...")
	}
	return strings.Join(names, "; ")
}
