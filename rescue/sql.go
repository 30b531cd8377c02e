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
	// raw is the change as the stream brought it, from which it can be decoded
	// again; nil when it came otherwise.
	raw []byte
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

// over adds the condition for writing over the row that is there, empty when
// there is none. F's commit timestamp becomes the statement's last parameter.
func (s *statement) over(kind msgKind, r rule) string {
	n := len(s.params) + 1
	condition := r.over(kind, n)
	s.stamped = strings.Contains(condition, "$"+strconv.Itoa(n)+"::")
	return condition
}

// conditions joins those that are not empty, behind a word if there are any.
func conditions(word, first string, more ...string) string {
	if first != "" {
		more = append([]string{first}, more...)
	}
	if len(more) == 0 {
		return ""
	}
	return word + strings.Join(more, " AND ")
}

// replaced renders the stamp of the row that an INSERT has written over, as it
// was before the statement, NULL when there was none. It costs a look only where
// there was one: a row just inserted has not been locked by anyone. Rows of a
// partitioned table do not tell, so there it is always looked.
func (c *change) replaced() string {
	on := make([]string, len(c.b.key))
	for i, k := range c.b.key {
		on[i] = "o." + quoteIdent(k.name) + " " + k.equals + " t." + quoteIdent(k.name)
	}
	look := "(SELECT " + stampOf("o") + " FROM " + c.b.tab.only() + " AS o WHERE " + strings.Join(on, " AND ") + ")"
	if c.b.tab.partitioned {
		return look
	}
	return "CASE WHEN t.xmax <> 0 THEN " + look + " END"
}

// insert overwrites a row that is there already when the rule lets it. It returns
// the stamp of what it has overwritten.
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
	// Nor can a row be replaced without a replica identity, where updates are
	// published: it stays, and Verify looks at it.
	if len(sets) > 0 && c.b.tab.identified {
		action = "UPDATE SET " + strings.Join(sets, ", ") + conditions(" WHERE ", s.over(c.kind, r), guards...)
	}
	s.sql = "INSERT INTO " + c.b.tab.sql() + " AS t (" + strings.Join(names, ", ") + ")" + overriding +
		" VALUES (" + strings.Join(values, ", ") + ")"
	if c.b.whole {
		s.stamped = false // equal rows may stand side by side
		return s
	}
	s.sql += " ON CONFLICT (" + strings.Join(keys, ", ") + ") DO " + action + " RETURNING " + c.replaced()
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
	s.guard("UPDATE "+c.b.tab.only()+" AS t SET "+strings.Join(sets, ", "), c, r, guards)
	return s
}

func (c *change) delete(r rule) *statement {
	s := &statement{}
	s.guard("DELETE FROM "+c.b.tab.only()+" AS t", c, r, nil)
	return s
}

// guard completes an UPDATE or DELETE by its conditions. Where F's change is
// written over later rows of others the statement returns their stamp; where a
// conflict is to stop the replay, an UPDATE without a row is one.
func (s *statement) guard(sql string, c *change, r rule, guards []string) {
	key := strings.Join(append(c.where(s), guards...), " AND ")
	s.sql = sql + " WHERE " + key
	if !c.b.whole { // a row that another node has changed is another row
		s.sql += conditions(" AND ", s.over(c.kind, r))
	}
	switch resolution := r.resolution.orDefault(); {
	case (resolution == ApplyRemote || resolution == FirstUpdateWins) && !c.b.whole:
		s.stamped = true
		s.sql = "WITH was AS MATERIALIZED (SELECT " + stampOf("t") + " AS stamp FROM " + c.b.tab.only() + " AS t WHERE " + key +
			" AND NOT " + r.later(len(s.params)+1) + ") " + s.sql + " RETURNING (SELECT was.stamp FROM was)"
	case resolution == Stop && c.kind == msgUpdate:
		s.sql = "WITH done AS (" + s.sql + " RETURNING 1) SELECT CASE WHEN count(*) = 0 THEN (" +
			quoteLiteral(stopMark+absentMark+" ") + " || count(*)::text)::boolean END FROM done"
	}
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
