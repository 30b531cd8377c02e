package rescue

import (
	"context"
	"strconv"
	"strings"
)

// A program applies many transactions in one call. The server spends more on the
// messages of a statement than on the row it writes, so the row changes of a batch
// go to it as arrays, what to do and the values, and a DO block does them one
// after the other, COMMIT by COMMIT. Runs of like changes are one statement. The
// arrays are parameters of the session, because a DO block takes no others.
//
// PL/pgSQL sets up each of its expressions anew in each transaction, which for a
// transaction of one row costs as much as the row: so there are as few of them as
// can be. A loop over a query assigns its variables without any, and casts the
// values in the query, which is set up once in a call.
//
// The loop's query takes arrays apart with unnest alone: its subscripts would be
// looked for from the beginning of the array, each time.
//
// It is no procedure of the session's own, although that could be prepared: a
// server removes what is temporary when the session ends, in a transaction, which
// would be the newest under the origin and none of F's; see doubt.go.
//
// The program does only what is beyond doubt: new rows, and rows whose last
// write the rule lets go. Whatever else it meets is an error that aborts the
// transaction, which is then done again row by row, where conflicts are decided
// and counted.

const (
	// maxShapes bounds a program: further shapes go row by row.
	maxShapes = 48
	// maxVariables bounds the values that the loop assigns, maxColumns those of
	// a change: other shapes take theirs out of the array.
	maxVariables = 48
	maxColumns   = 16
)

// form is what a run of like changes is to its transaction.
type form int

const (
	// solo is a transaction of one change, single one change among others.
	solo form = iota
	single
	many
	forms
)

// shape is a kind of change with the columns it writes, as a part of a program.
type shape struct {
	id     int
	kind   msgKind
	b      *binding
	change *change // whose columns tell the statement; it has no values
	rule   rule
	params []param
	types  []string
	// inline shapes have variables of their own.
	inline bool
	// copies is set when rows of the shape can go by COPY.
	copies bool
	// codes are those of the arms, 0 for those that are not made yet.
	codes [forms]int
}

// arm is what a program does for one code.
type arm struct {
	shape *shape
	form  form
}

// program is a DO block that grows with what the gap shows.
type program struct {
	shapes []*shape
	// arms are indexed by their code; the first ends a transaction.
	arms      []arm
	variables int
	// columns is how many arrays the values of single changes take.
	columns int
	// text is empty when an arm was added since it was rendered.
	text string
}

func newProgram() *program { return &program{arms: []arm{{}}} }

// code is that of a run.
func (p *program) code(s *shape, f form) int {
	if s.codes[f] == 0 {
		s.codes[f] = len(p.arms)
		p.arms = append(p.arms, arm{shape: s, form: f})
		p.text = ""
	}
	return s.codes[f]
}

// canRun reports whether a change is simple enough for a program. The answer is
// the same for all changes of a shape.
func (c *change) canRun() bool {
	if c.raw == nil || c.moved || c.b.whole || c.b.tab.partitioned || len(c.b.key) == 0 {
		return false
	}
	switch c.kind {
	case msgInsert, msgDelete:
		return true
	case msgUpdate:
	default:
		return false
	}
	set := false
	for i, col := range c.b.columns {
		if c.writes(i) && !c.b.isKey(i) {
			if col.always {
				return false
			}
			set = true
		}
	}
	return set
}

// add makes a shape of a change.
func (p *program) add(c *change, r rule) *shape {
	like := &change{kind: c.kind, b: c.b, new: make(tuple, len(c.new))}
	for i, d := range c.new {
		like.new[i].kind = d.kind
	}
	s := &shape{id: len(p.shapes) + 1, kind: c.kind, b: c.b, change: like, rule: r}
	like.programSQL(r, "", func(old bool, i int, typ string) string {
		s.params, s.types = append(s.params, param{old: old, at: i}), append(s.types, typ)
		return ""
	})
	if n := len(s.params); n <= maxColumns && p.variables+n <= maxVariables {
		s.inline = true
		p.variables += n
		p.columns = max(p.columns, n)
	}
	s.copies = s.kind == msgInsert && c.b.copies && len(s.params) > 0
	p.shapes = append(p.shapes, s)
	return s
}

// programSQL renders a change with its values as the caller has them, and with
// the rows of from. Its values are asked for in one and the same order.
func (c *change) programSQL(r rule, from string, value func(old bool, i int, typ string) string) string {
	var names, values, sets []string
	overriding := ""
	for i, col := range c.b.columns {
		if c.kind == msgDelete || !c.writes(i) || (c.kind == msgUpdate && c.b.isKey(i)) {
			continue
		}
		v := value(false, i, col.typ)
		names, values = append(names, quoteIdent(col.name)), append(values, v)
		sets = append(sets, quoteIdent(col.name)+" = "+v)
		if col.always {
			overriding = " OVERRIDING SYSTEM VALUE"
		}
	}
	if c.kind == msgInsert {
		sql := "INSERT INTO " + c.b.tab.sql() + " (" + strings.Join(names, ", ") + ")" + overriding
		if from == "" {
			return sql + " VALUES (" + strings.Join(values, ", ") + ")"
		}
		return sql + " SELECT " + strings.Join(values, ", ") + " FROM " + from
	}
	where := make([]string, 0, len(c.b.key)+1)
	for i, k := range c.b.key {
		where = append(where, "t."+quoteIdent(k.name)+" "+k.equals+" "+value(c.kind == msgDelete, c.b.keyAt[i], k.typ))
	}
	where = append(where, strings.ReplaceAll(r.later(1), "$1::", "healer_at::"))
	if c.kind == msgDelete {
		if from != "" {
			from = " USING " + from
		}
		return "DELETE FROM " + c.b.tab.only() + " AS t" + from + " WHERE " + strings.Join(where, " AND ")
	}
	if from != "" {
		from = " FROM " + from
	}
	return "UPDATE " + c.b.tab.only() + " AS t SET " + strings.Join(sets, ", ") + from + " WHERE " + strings.Join(where, " AND ")
}

// variable names the loop's variable for a value; plain reports whether it has
// the value's type. Others are text, cast where they are used: a variable of a
// domain may not be NULL, as it is while other shapes have their turn.
func (s *shape) variable(i int) (name string, plain bool) {
	return "healer_" + strconv.Itoa(s.id) + "_" + strconv.Itoa(i), !strings.Contains(s.types[i], ".")
}

// sql renders the statement of an arm.
func (a arm) sql() string {
	s, i := a.shape, -1
	element := func(at string) string {
		return "(healer_v[" + at + " + " + strconv.Itoa(i) + "])::" + s.types[i]
	}
	if a.form == many {
		width := strconv.Itoa(len(s.params))
		from := "pg_catalog.generate_series(healer_p, healer_p + (healer_c - 1) * " + width + ", " + width + ") AS healer_k(i)"
		return s.change.programSQL(s.rule, from, func(bool, int, string) string { i++; return element("healer_k.i") })
	}
	return s.change.programSQL(s.rule, "", func(bool, int, string) string {
		i++
		if !s.inline {
			return element("healer_p")
		}
		name, plain := s.variable(i)
		if plain {
			return name
		}
		return "(" + name + ")::" + s.types[i]
	})
}

const (
	endSQL = "healer_ok := pg_catalog.pg_replication_origin_xact_setup(healer_lsn, healer_at) IS NULL; COMMIT; "
	// notAsItWas makes the transaction go row by row.
	notAsItWas = " THEN RAISE EXCEPTION 'a row is not as it was: the transaction is applied row by row'; END IF; "
)

// body renders what the program does for a code.
func (a arm) body() string {
	if a.shape == nil {
		return endSQL
	}
	sql := a.sql() + "; "
	switch {
	case a.shape.kind == msgInsert:
	case a.form == many:
		sql += "GET DIAGNOSTICS healer_n = ROW_COUNT; IF healer_n <> healer_c" + notAsItWas
	default:
		sql += "IF NOT FOUND" + notAsItWas
	}
	if a.form == solo {
		sql += endSQL
	}
	return sql
}

// branch renders the choice of an arm: few comparisons, because each is an
// expression.
func branch(b *strings.Builder, arms []arm, first int) {
	if len(arms) == 1 {
		b.WriteString(arms[0].body())
		return
	}
	half := len(arms) / 2
	b.WriteString("IF healer_o >= " + strconv.Itoa(first+half) + " THEN ")
	branch(b, arms[half:], first+half)
	b.WriteString("ELSE ")
	branch(b, arms[:half], first)
	b.WriteString("END IF; ")
}

// render returns the block, whose arrays the session's parameters have.
func (p *program) render() string {
	if p.text != "" {
		return p.text
	}
	declare, into, query := &strings.Builder{}, &strings.Builder{}, &strings.Builder{}
	columns := ""
	for i := range p.columns {
		n := strconv.Itoa(i)
		columns += ", pg_catalog.unnest(pg_catalog.current_setting('healer.c" + n + "')::text[]) AS c" + n
	}
	for _, s := range p.shapes {
		codes := make([]string, 0, forms)
		for _, f := range []form{solo, single} {
			if s.codes[f] > 0 {
				codes = append(codes, strconv.Itoa(s.codes[f]))
			}
		}
		if !s.inline || len(codes) == 0 {
			continue
		}
		for i, typ := range s.types {
			name, plain := s.variable(i)
			if !plain {
				typ = "text"
			}
			declare.WriteString(name + " " + typ + "; ")
			into.WriteString(", " + name)
			query.WriteString(", CASE WHEN u.o IN (" + strings.Join(codes, ", ") + ") THEN (u.c" + strconv.Itoa(i) + ")::" + typ + " END")
		}
	}
	b := &strings.Builder{}
	b.WriteString(`DECLARE healer_v text[] := pg_catalog.current_setting('healer.values');
healer_o int; healer_p int; healer_c int; healer_lsn pg_lsn; healer_at timestamptz; healer_n bigint; healer_ok boolean; `)
	b.WriteString(declare.String())
	b.WriteString("\nBEGIN FOR healer_o, healer_p, healer_c, healer_lsn, healer_at" + into.String() + " IN\n" +
		"SELECT u.o, u.p, u.c, u.l, '2000-01-01 00:00:00+00'::timestamptz + u.a * '1 microsecond'::interval" + query.String())
	b.WriteString(`
FROM (SELECT pg_catalog.unnest(pg_catalog.current_setting('healer.ops')::int[]) AS o,
 pg_catalog.unnest(pg_catalog.current_setting('healer.starts')::int[]) AS p,
 pg_catalog.unnest(pg_catalog.current_setting('healer.counts')::int[]) AS c,
 pg_catalog.unnest(pg_catalog.current_setting('healer.lsns')::pg_lsn[]) AS l,
 pg_catalog.unnest(pg_catalog.current_setting('healer.ats')::bigint[]) AS a` + columns + `) AS u
LOOP `)
	branch(b, p.arms, 0)
	b.WriteString("END LOOP; END")
	p.text = "DO " + quoteLiteral(b.String())
	return p.text
}

// loadSQL gives the program its arrays.
func (p *program) loadSQL() string {
	names := []string{"ops", "starts", "counts", "lsns", "ats", "values"}
	for i := range p.columns {
		names = append(names, "c"+strconv.Itoa(i))
	}
	for i, name := range names {
		names[i] = "pg_catalog.set_config('healer." + name + "', $" + strconv.Itoa(i+1) + ", false)"
	}
	return "SELECT " + strings.Join(names, ", ")
}

// fitQuery tells whether a table's rows can be written by a program: triggers and
// rules which fire for replicated changes may tell one statement from many, and
// a cast from text that is somebody's function is not the type's input.
const fitQuery = `
SELECT c.relkind = 'r'
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g
  WHERE g.tgrelid = c.oid AND g.tgenabled IN ('A', 'R'))
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite w
  WHERE w.ev_class = c.oid AND w.ev_enabled IN ('A', 'R'))
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_cast k ON k.casttarget = a.atttypid
  WHERE a.attrelid = c.oid AND k.castsource = 'pg_catalog.text'::pg_catalog.regtype
   AND k.castmethod = 'f' AND k.oid >= 16384),
 (SELECT count(*) <= 1 FROM pg_catalog.pg_index i
  WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)),
 NOT c.relrowsecurity
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2`

// fits is that answer. It notes for the binding whether nothing but the key must
// be unique, and whether rows may come by COPY, which row security forbids.
func (s *Session) fits(ctx context.Context, b *binding) (bool, error) {
	got, err := rows(ctx, s.conn, fitQuery, []byte(b.tab.name.Schema), []byte(b.tab.name.Name))
	if err != nil {
		return false, s.wrap(err)
	}
	if len(got) != 1 {
		return false, nil
	}
	b.free, b.copies = isTrue(got[0][1]), isTrue(got[0][2])
	return isTrue(got[0][0]), nil
}
