package rescue

import (
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// change is a row change as it is applied.
type change struct {
	kind msgKind
	b    *binding
	// old is the row that is looked up, new what it becomes.
	old, new tuple
	// moved is set when an UPDATE carries the old row because its key changes.
	moved bool
	// step is the part of a TRUNCATE; see truncate.go.
	step truncateStep
}

// statement is one prepared shape: a kind of change and the columns it sets.
type statement struct {
	sql    string
	params []param
	// stamped statements take F's commit timestamp as their last parameter.
	stamped bool
	// desc is nil until the statement is prepared in the session.
	desc *pgconn.StatementDescription
}

// param is a value of the new row, or of the old one.
type param struct {
	old bool
	at  int
}

// rule is the condition under which F's change replaces the row t: last update
// wins, by commit timestamp, then by node name.
type rule struct {
	// mine are the origins of F's own writes on T, greater those of nodes that
	// win against F at equal timestamps.
	mine, greater []uint32
}

// sql renders the rule with the commit timestamp as parameter n. A row without a
// known commit timestamp was written by this very transaction or long ago: it
// yields, hence the coalesce. The function is called once for a row of F's own,
// which is the ordinary case.
func (r rule) sql(n int) string {
	const (
		writer = `(pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident`
		at     = `pg_catalog.pg_xact_commit_timestamp(t.xmin)`
	)
	ts := "$" + strconv.Itoa(n) + "::timestamptz"
	var b strings.Builder
	b.WriteString("coalesce(")
	if len(r.mine) > 0 {
		b.WriteString(writer + " IN (" + oidList(r.mine) + ") OR ")
	}
	if len(r.greater) == 0 {
		b.WriteString(at + " <= " + ts)
	} else {
		b.WriteString(at + " < " + ts + " OR (" + at + " = " + ts +
			" AND " + writer + " NOT IN (" + oidList(r.greater) + "))")
	}
	b.WriteString(", true)")
	return b.String()
}

// shape names the statement a change needs, in buf: its kind, whether the key
// may change, and for each column whether it is written.
func (c *change) shape(buf []byte) []byte {
	buf = append(buf[:0], byte(c.kind))
	if c.moved {
		buf = append(buf, '!')
	}
	if c.kind == msgTruncate {
		return append(buf, byte(c.step))
	}
	if c.b.whole && c.kind != msgInsert {
		// A comparison with NULL is another one.
		for _, at := range c.b.keyAt {
			buf = append(buf, byte(c.old[at].kind))
		}
	}
	if c.kind == msgDelete {
		return buf
	}
	for i := range c.b.columns {
		if c.writes(i) {
			buf = append(buf, '1')
		} else {
			buf = append(buf, '0')
		}
	}
	return buf
}

// writes reports whether the stream's column i goes into the statement.
func (c *change) writes(i int) bool {
	return i < len(c.new) && c.new[i].kind != datumUnchanged && !c.b.columns[i].generated
}

// build renders the statement of a change; its text is empty when the table has
// no column that could be written.
func (c *change) build(r rule) *statement {
	switch c.kind {
	case msgInsert:
		return c.insert(r)
	case msgUpdate:
		return c.update(r)
	case msgTruncate:
		return c.truncate(r)
	default:
		return c.delete(r)
	}
}

func (s *statement) param(old bool, at int) string {
	s.params = append(s.params, param{old: old, at: at})
	return "$" + strconv.Itoa(len(s.params))
}

// insert overwrites a row that is there already when F's is later. It returns
// whether there was one.
func (c *change) insert(r rule) *statement {
	s := &statement{}
	var names, values, sets, guards []string
	overriding := ""
	for i, col := range c.b.columns {
		if !c.writes(i) {
			continue
		}
		q := quoteIdent(col.name)
		names = append(names, q)
		values = append(values, s.param(false, i))
		switch {
		case !col.always:
			sets = append(sets, q+" = EXCLUDED."+q)
		case !c.b.isKey(i):
			guards = append(guards, identityGuard(col.name, "EXCLUDED."+q))
		}
		if col.always {
			overriding = " OVERRIDING SYSTEM VALUE"
		}
	}
	keys := make([]string, len(c.b.key))
	for i, k := range c.b.key {
		keys[i] = quoteIdent(k.name)
	}
	// With nothing but an identity key, the row that is there is the same row.
	action := "NOTHING"
	if len(sets) > 0 {
		s.stamped = true
		action = "UPDATE SET " + strings.Join(sets, ", ") + " WHERE " +
			strings.Join(append([]string{r.sql(len(s.params) + 1)}, guards...), " AND ")
	}
	s.sql = "INSERT INTO " + c.b.tab.sql() + " AS t (" + strings.Join(names, ", ") + ")" + overriding +
		" VALUES (" + strings.Join(values, ", ") + ")"
	if c.b.whole {
		s.stamped = false // equal rows may stand side by side
		return s
	}
	s.sql += " ON CONFLICT (" + strings.Join(keys, ", ") + ") DO " + action
	if !c.b.tab.partitioned {
		// A row just inserted has not been locked by anyone. Rows of a
		// partitioned table do not tell.
		s.sql += " RETURNING t.xmax <> 0"
	}
	return s
}

// update writes every column that was sent. Key columns are written only when
// they may have changed, and identity columns never: PostgreSQL refuses it.
func (c *change) update(r rule) *statement {
	s := &statement{}
	var sets, guards []string
	for i, col := range c.b.columns {
		if !c.writes(i) || (!c.b.whole && c.b.isKey(i) && (!c.moved || col.always)) {
			continue
		}
		if col.always {
			guards = append(guards, identityGuard(col.name, s.param(false, i)))
			continue
		}
		sets = append(sets, quoteIdent(col.name)+" = "+s.param(false, i))
	}
	if len(sets) == 0 {
		// Nothing was sent that can be written: the row gets F's commit
		// timestamp all the same, which is what later writes compare with.
		name, ok := c.b.tab.writable()
		if !ok {
			return s
		}
		sets = append(sets, quoteIdent(name)+" = t."+quoteIdent(name))
	}
	where := c.where(s)
	where = append(where, guards...)
	if !c.b.whole {
		where = append(where, r.sql(len(s.params)+1))
		s.stamped = true
	}
	s.sql = "UPDATE " + c.b.tab.only() + " AS t SET " + strings.Join(sets, ", ") +
		" WHERE " + strings.Join(where, " AND ")
	return s
}

func (c *change) delete(r rule) *statement {
	s := &statement{stamped: !c.b.whole}
	where := c.where(s)
	if s.stamped {
		where = append(where, r.sql(len(s.params)+1))
	}
	s.sql = "DELETE FROM " + c.b.tab.only() + " AS t WHERE " + strings.Join(where, " AND ")
	return s
}

// where finds the row by its key: in the old row when there is one.
func (c *change) where(s *statement) []string {
	if c.b.whole {
		return []string{c.wholeRow(s)}
	}
	old := c.kind == msgDelete || c.moved
	out := make([]string, 0, len(c.b.key)+1)
	for i, k := range c.b.key {
		out = append(out, "t."+quoteIdent(k.name)+" "+k.equals+" "+s.param(old, c.b.keyAt[i])+"::"+k.typ)
	}
	return out
}

// identityGuard fails the statement, by a cast that cannot succeed, when F
// changed a GENERATED ALWAYS identity column: no UPDATE can follow that.
func identityGuard(name, value string) string {
	col := "t." + quoteIdent(name)
	return "CASE WHEN " + col + " IS NOT DISTINCT FROM " + value +
		" THEN true ELSE (" + quoteLiteral("identity column "+name+" was changed from ") +
		" || " + col + "::text)::boolean END"
}
