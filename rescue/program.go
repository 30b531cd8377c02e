package rescue

import (
	"bytes"
	"context"
	"hash/maphash"
	"strconv"
	"strings"

	"healer/topology"
)

// A program applies many transactions in one call. The server spends more on the
// messages of a statement than on the row it writes, so the row changes of a batch
// go to it as two arrays, what to do and the values, and a DO block does them one
// after the other, COMMIT by COMMIT. Runs of like changes are one statement. The
// arrays are parameters of the session, because a DO block takes no others.
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
	// lsnSetting is a parameter of the session that has the last committed
	// transaction: it is set in the transaction, so that an abort takes it back.
	lsnSetting = "healer.lsn"
	// maxShapes bounds a program: further shapes go row by row.
	maxShapes = 48
)

// shape is a kind of change with the columns it writes, as a part of a program.
type shape struct {
	code   int
	kind   msgKind
	b      *binding
	params []param
	// one and many are the statement for a change and for a run of them.
	one, many string
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

// program renders the statements of a change.
func (c *change) program(r rule, code int) *shape {
	s := &shape{code: code, kind: c.kind, b: c.b}
	s.one = c.programSQL(s, r, "healer_p", "", "")
	s.params = s.params[:0]
	from := "pg_catalog.generate_series(healer_p, healer_p + (healer_c - 1) * " +
		strconv.Itoa(c.programWidth()) + ", " + strconv.Itoa(c.programWidth()) + ") AS healer_k(i)"
	s.many = c.programSQL(s, r, "healer_k.i", from, from)
	return s
}

// programWidth is the number of values of a change.
func (c *change) programWidth() int {
	s := &shape{}
	c.programSQL(s, rule{}, "", "", "")
	return len(s.params)
}

func (c *change) programSQL(s *shape, r rule, at, from, using string) string {
	value := func(old bool, i int, typ string) string {
		s.params = append(s.params, param{old: old, at: i})
		return "(healer_v[" + at + " + " + strconv.Itoa(len(s.params)-1) + "])::" + typ
	}
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
		if using != "" {
			using = " USING " + using
		}
		return "DELETE FROM " + c.b.tab.only() + " AS t" + using + " WHERE " + strings.Join(where, " AND ")
	}
	if from != "" {
		from = " FROM " + from
	}
	return "UPDATE " + c.b.tab.only() + " AS t SET " + strings.Join(sets, ", ") + from + " WHERE " + strings.Join(where, " AND ")
}

// block renders the program for these shapes.
func block(shapes []*shape) string {
	var body strings.Builder
	body.WriteString(`DECLARE
 healer_at timestamptz;
 healer_ops int[] := pg_catalog.current_setting('healer.ops');
 healer_v text[] := pg_catalog.current_setting('healer.values');
 healer_lsns pg_lsn[] := pg_catalog.current_setting('healer.lsns');
 healer_ats timestamptz[] := pg_catalog.current_setting('healer.ats');
 healer_i int := 1; healer_last int := pg_catalog.cardinality(healer_ops);
 healer_j int := 1; healer_p int := 1; healer_o int; healer_c int; healer_n bigint; healer_ok boolean;
BEGIN
 healer_at := healer_ats[1];
 WHILE healer_i < healer_last LOOP
  healer_o := healer_ops[healer_i]; healer_c := healer_ops[healer_i + 1]; healer_i := healer_i + 2;
  IF healer_o = 0 THEN
   healer_ok := pg_catalog.set_config('` + lsnSetting + `', healer_lsns[healer_j]::text, false) IS NULL;
   healer_ok := pg_catalog.pg_replication_origin_xact_setup(healer_lsns[healer_j], healer_at) IS NULL;
   COMMIT;
   healer_j := healer_j + 1; healer_at := healer_ats[healer_j];
`)
	for _, s := range shapes {
		code := strconv.Itoa(s.code)
		body.WriteString("  ELSIF healer_o = " + code + " THEN\n   IF healer_c = 1 THEN " + s.one + "; ELSE " + s.many + "; END IF;\n")
		if s.kind != msgInsert {
			body.WriteString("   GET DIAGNOSTICS healer_n = ROW_COUNT;\n" +
				"   IF healer_n <> healer_c THEN RAISE EXCEPTION 'a row is not as it was: the transaction is applied row by row'; END IF;\n")
		}
		body.WriteString("   healer_p := healer_p + healer_c * " + strconv.Itoa(len(s.params)) + ";\n")
	}
	body.WriteString("  END IF;\n END LOOP;\nEND")
	return "DO " + quoteLiteral(body.String())
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
   AND k.castmethod = 'f' AND k.oid >= 16384)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2`

func (s *Session) fits(ctx context.Context, name topology.TableName) (bool, error) {
	got, err := rows(ctx, s.conn, fitQuery, []byte(name.Schema), []byte(name.Name))
	if err != nil {
		return false, s.wrap(err)
	}
	return len(got) == 1 && isTrue(got[0][0]), nil
}

// entry is a change that a batch can do again: its row is in raw.
type entry struct {
	change change
	shape  *shape
	key    Key
}

// commit is a transaction that a batch has to its end.
type commit struct {
	lsn topology.LSN
	at  int64
	// end is the number of entries up to its end; ops, values and count are
	// those of the batch's arrays.
	end, ops, values, count int
}

// batch is what one call applies: whole transactions, or a part of one.
type batch struct {
	ops     []int32
	values  []byte
	count   int
	entries []entry
	commits []commit
	// run is the shape of the run that can be continued, keys the hashes of
	// its rows' keys: a statement changes a row once.
	run  *shape
	keys map[uint64]struct{}
	seed maphash.Seed
}

func newBatch() *batch { return &batch{keys: map[uint64]struct{}{}, seed: maphash.MakeSeed()} }

func (b *batch) reset() {
	clear(b.entries) // lets go of the stream's buffers
	b.ops, b.values, b.entries, b.commits = b.ops[:0], b.values[:0], b.entries[:0], b.commits[:0]
	b.count, b.run = 0, nil
}

// size is about what it takes on the wire.
func (b *batch) size() int { return len(b.values) + 4*len(b.ops) }

// done is the number of entries in whole transactions.
func (b *batch) done() int {
	if len(b.commits) == 0 {
		return 0
	}
	return b.commits[len(b.commits)-1].end
}

// add takes a change.
func (b *batch) add(c *change, s *shape, key Key) {
	if s != b.run || !b.fresh(s, key) {
		b.ops = append(b.ops, int32(s.code), 0) //nolint:gosec // at most maxShapes
		b.run = s
		clear(b.keys)
		b.fresh(s, key)
	}
	b.ops[len(b.ops)-1]++
	for _, p := range s.params {
		row := c.new
		if p.old {
			row = c.old
		}
		b.value(row[p.at])
	}
	e := entry{change: *c, shape: s, key: key}
	e.change.old, e.change.new = nil, nil
	b.entries = append(b.entries, e)
}

// fresh notes a row of the run, false when the run has changed it already.
func (b *batch) fresh(s *shape, key Key) bool {
	if s.kind == msgInsert {
		return true
	}
	var h maphash.Hash
	h.SetSeed(b.seed)
	for _, v := range key {
		_, _ = h.WriteString(v)
		_ = h.WriteByte(0)
	}
	sum := h.Sum64()
	if _, ok := b.keys[sum]; ok {
		return false
	}
	b.keys[sum] = struct{}{}
	return true
}

// value appends an element to the text of the array of values.
func (b *batch) value(d datum) {
	if b.count++; b.count > 1 {
		b.values = append(b.values, ',')
	}
	if d.kind != datumText {
		b.values = append(b.values, "NULL"...)
		return
	}
	b.values = append(b.values, '"')
	for text := d.text; ; {
		i := bytes.IndexAny(text, `"\\`)
		if i < 0 {
			b.values = append(b.values, text...)
			break
		}
		b.values = append(b.values, text[:i]...)
		b.values = append(b.values, '\\', text[i])
		text = text[i+1:]
	}
	b.values = append(b.values, '"')
}

// end ends a transaction.
func (b *batch) end(lsn topology.LSN, at int64) {
	b.run = nil
	b.ops = append(b.ops, 0, 0)
	b.commits = append(b.commits, commit{
		lsn: lsn, at: at, end: len(b.entries), ops: len(b.ops), values: len(b.values), count: b.count,
	})
}

// truncate drops what follows the last whole transaction.
func (b *batch) truncate() {
	c := b.commits[len(b.commits)-1]
	clear(b.entries[c.end:])
	b.entries, b.ops, b.values, b.count = b.entries[:c.end], b.ops[:c.ops], b.values[:c.values], c.count
	b.run = nil
}

// loadSQL gives the program its arrays.
const loadSQL = `SELECT pg_catalog.set_config('healer.ops', $1, false), pg_catalog.set_config('healer.values', $2, false),
 pg_catalog.set_config('healer.lsns', $3, false), pg_catalog.set_config('healer.ats', $4, false)`

// params are the parameters of loadSQL. at is the commit timestamp of what follows
// the last whole transaction.
func (b *batch) params(at int64) [][]byte {
	ops, lsns, ats := []byte{'{'}, []byte{'{'}, []byte{'{'}
	for i, o := range b.ops {
		if i > 0 {
			ops = append(ops, ',')
		}
		ops = strconv.AppendInt(ops, int64(o), 10)
	}
	for i, c := range b.commits {
		if i > 0 {
			lsns = append(lsns, ',')
		}
		lsns = append(lsns, c.lsn.String()...)
		ats = append(append(append(ats, '"'), timestamp(c.at)...), `",`...)
	}
	ats = append(append(append(ats, '"'), timestamp(at)...), `"}`...)
	values := make([]byte, 0, len(b.values)+2)
	values = append(append(append(values, '{'), b.values...), '}')
	return [][]byte{append(ops, '}'), values, append(lsns, '}'), ats}
}

// restore reads an entry's row again.
func (e *entry) restore(dec *decoder) (*change, error) {
	m, err := dec.decode(e.change.raw)
	if err != nil {
		return nil, err
	}
	c := e.change
	c.old, c.new = m.old, m.new
	return &c, nil
}
