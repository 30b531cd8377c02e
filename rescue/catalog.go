package rescue

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// table is what a server's catalog says of a table.
type table struct {
	name topology.TableName
	// partitioned tables hold their rows in other tables.
	partitioned bool
	// identified tables have a replica identity: their rows can be deleted
	// although the server publishes deletions.
	identified bool
	columns    []column
	// keys are the unique indexes that can identify a row: the primary key
	// first, then the replica identity index if that is another one.
	keys []uniqueIndex
	// sequences are those which columns own, as SQL names.
	sequences []string
}

type column struct {
	name string
	// typ is the type's SQL name, qualified, without a modifier.
	typ string
	// generated columns are computed by the server and never written.
	generated bool
	// always marks GENERATED ALWAYS AS IDENTITY: it takes a value on INSERT
	// only with OVERRIDING SYSTEM VALUE, and on UPDATE none at all.
	always bool
	// equals is the equality of a plain type's btree, empty where there is
	// none: equal texts are equal by it, not the other way round.
	equals string
}

type uniqueIndex struct {
	columns []keyColumn
}

// keyColumn is a column of a key, with the equality of its index: user types
// have their own, outside pg_catalog.
type keyColumn struct {
	name, typ, equals string
}

func (t *table) column(name string) (column, bool) {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	if i < 0 {
		return column{}, false
	}
	return t.columns[i], true
}

// writable names a column that an UPDATE may set.
func (t *table) writable() (string, bool) {
	i := slices.IndexFunc(t.columns, func(c column) bool { return !c.generated && !c.always })
	if i < 0 {
		return "", false
	}
	return t.columns[i].name, true
}

// sql is the table as a target of INSERT.
func (t *table) sql() string { return quoteIdent(t.name.Schema) + "." + quoteIdent(t.name.Name) }

// only is the table as a target of UPDATE, DELETE and SELECT: a table that
// others inherit from stands for itself alone, as in logical replication.
func (t *table) only() string {
	if t.partitioned {
		return t.sql()
	}
	return "ONLY " + t.sql()
}

const columnsQuery = `
SELECT c.relkind = 'p', a.attname, pg_catalog.format_type(a.atttypid, -1),
       a.attgenerated <> '', a.attidentity = 'a',
       CASE c.relreplident
         WHEN 'f' THEN true WHEN 'n' THEN false
         ELSE EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
           AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END)
       END,
       (SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = op.oprnamespace), op.oprname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid
LEFT JOIN (pg_catalog.pg_opclass oc
  JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
  JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
    AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
  JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr)
  ON oc.opcdefault AND ty.typtype IN ('b', 'e') AND ty.typcategory <> 'A' AND oc.opcintype = CASE
    WHEN ty.typtype = 'e' THEN 'pg_catalog.anyenum'::regtype
    WHEN ty.oid = 'pg_catalog.varchar'::regtype THEN 'pg_catalog.text'::regtype
    ELSE ty.oid END
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
ORDER BY a.attnum`

// The columns of unique indexes are listed by uniquesQuery, those of the indexes that
// identify rows by keysQuery, which come first there that the primary key has. An index
// that is deferrable cannot arbitrate ON CONFLICT and keeps no apply worker from going on;
// one on an expression or a part of the table cannot identify, and one without a btree
// equality (an exclusion over ranges) is no equality.
const (
	uniquesQuery = indexColumns + indexOrder
	keysQuery    = indexColumns + " AND a.attnotnull AND (i.indisprimary OR i.indisreplident)" + indexOrder
	indexOrder   = " ORDER BY i.indisprimary DESC, i.indexrelid, k.pos"
	indexColumns = `
SELECT i.indexrelid, a.attname, pg_catalog.format_type(a.atttypid, -1), opn.nspname, op.oprname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(pos)
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.pos]
JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[k.pos]
JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
  AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr
JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
  AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL`
)

// readTable reads a table's definition; nil when there is no such table.
func readTable(ctx context.Context, conn *pgconn.PgConn, name topology.TableName) (*table, error) {
	got, err := rows(ctx, conn, columnsQuery, []byte(name.Schema), []byte(name.Name))
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", name, err)
	}
	if len(got) == 0 {
		return nil, nil //nolint:nilnil // no such table is an answer
	}
	t := &table{name: name}
	for _, r := range got {
		t.partitioned, t.identified = isTrue(r[0]), isTrue(r[5])
		c := column{name: string(r[1]), typ: string(r[2]), generated: isTrue(r[3]), always: isTrue(r[4])}
		if r[7] != nil {
			c.equals = operator(r[6], r[7])
		}
		t.columns = append(t.columns, c)
	}
	if t.keys, err = readIndexes(ctx, conn, keysQuery, name); err != nil {
		return nil, err
	}
	got, err = rows(ctx, conn, sequencesQuery, []byte(name.Schema), []byte(name.Name))
	if err != nil {
		return nil, fmt.Errorf("read the sequences of %s: %w", name, err)
	}
	for _, r := range got {
		t.sequences = append(t.sequences, string(r[0]))
	}
	return t, nil
}

// readIndexes reads what keysQuery or uniquesQuery lists.
func readIndexes(ctx context.Context, conn *pgconn.PgConn, query string, name topology.TableName) (out []uniqueIndex, err error) {
	got, err := rows(ctx, conn, query, []byte(name.Schema), []byte(name.Name))
	if err != nil {
		return nil, fmt.Errorf("read the keys of %s: %w", name, err)
	}
	last := ""
	for _, r := range got {
		if id := string(r[0]); id != last {
			out = append(out, uniqueIndex{})
			last = id
		}
		k := &out[len(out)-1]
		k.columns = append(k.columns, keyColumn{
			name: string(r[1]), typ: string(r[2]),
			equals: operator(r[3], r[4]),
		})
	}
	return out, nil
}

// operator names an operator whatever the search path is.
func operator(schema, name []byte) string {
	return "OPERATOR(" + quoteIdent(string(schema)) + "." + string(name) + ")"
}

func isTrue(b []byte) bool { return string(b) == "t" }
