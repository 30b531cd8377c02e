package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// definition is a table as one node's catalog has it.
type definition struct {
	Partitioned bool     `json:"partitioned"`
	Columns     []column `json:"columns"`
	// Keys are the indexes that can identify a row, the primary key first.
	Keys []index `json:"keys"`
	// Rows is the planner's estimate; Pages the size of the largest part.
	Rows  float64 `json:"rows"`
	Pages int64   `json:"pages"`
	// Version is the server's.
	Version int `json:"version"`
}

type column struct {
	Name string `json:"name"`
	// Generated columns are computed from the others, and not replicated.
	Generated bool `json:"generated"`
}

type index struct {
	Columns []keyColumn `json:"columns"`
}

// keyColumn is a column of a key with the operators of its index.
type keyColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Less, AtMost and Greater are names to be used with OPERATOR().
	Less    string `json:"less"`
	AtMost  string `json:"at_most"`
	Greater string `json:"greater"`
	// Builtin is set when all three are PostgreSQL's own.
	Builtin bool `json:"builtin"`
	// Order tells orders apart: the collation with its version, the labels of an
	// enum. Two nodes with the same text sort alike.
	Order string `json:"order"`
}

// operatorSQL is the operator of a strategy of the key column's operator class.
const operatorSQL = `(SELECT jsonb_build_object('name', quote_ident(opn.nspname) || '.' || op.oprname, 'schema', opn.nspname)
	FROM pg_amop ao JOIN pg_operator op ON op.oid = ao.amopopr JOIN pg_namespace opn ON opn.oid = op.oprnamespace
	WHERE ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
	AND ao.amopstrategy = `

// orderSQL tells how a key column sorts. The columns of pg_database have changed
// their names, hence the detour by JSON.
const orderSQL = `concat_ws(' ',
	(SELECT concat_ws('/', d.encoding,
		CASE WHEN co.collprovider = 'd'
			THEN concat_ws('/', d.datlocprovider, d.datcollate, to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale',
				to_jsonb(d) ->> 'daticurules', pg_database_collation_actual_version(d.oid))
			ELSE concat_ws('/', co.collprovider, co.collcollate, to_jsonb(co) ->> 'colllocale', to_jsonb(co) ->> 'colliculocale',
				to_jsonb(co) ->> 'collicurules', co.collisdeterministic, pg_collation_actual_version(co.oid)) END)
		FROM pg_collation co, pg_database d WHERE co.oid = i.indcollation[k.pos] AND d.datname = current_database()),
	(SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e JOIN pg_type ty ON e.enumtypid IN (ty.oid, ty.typbasetype)
		WHERE ty.oid = a.atttypid))`

const definitionSQL = `SELECT jsonb_build_object(
	'partitioned', c.relkind = 'p',
	'version', current_setting('server_version_num')::int,
	'columns', (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'generated', a.attgenerated <> '') ORDER BY a.attnum)
		FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
	'rows', (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0) FROM pg_class l WHERE l.oid = c.oid AND c.relkind = 'r'
		OR c.relkind = 'p' AND l.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p WHERE p.isleaf)),
	'pages', (SELECT coalesce(max(pg_relation_size(l.oid)), 0) / current_setting('block_size')::int FROM pg_class l WHERE l.oid = c.oid AND c.relkind = 'r'
		OR c.relkind = 'p' AND l.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p WHERE p.isleaf)),
	'keys', (SELECT coalesce(jsonb_agg(x.key ORDER BY x.indisprimary DESC, x.indexrelid), '[]') FROM (
		SELECT i.indexrelid, i.indisprimary, jsonb_build_object('columns', jsonb_agg(jsonb_build_object(
			'name', a.attname, 'type', format_type(a.atttypid, -1),
			'less', o.lt ->> 'name', 'at_most', o.le ->> 'name', 'greater', o.gt ->> 'name',
			'builtin', o.lt ->> 'schema' = 'pg_catalog' AND o.le ->> 'schema' = 'pg_catalog' AND o.gt ->> 'schema' = 'pg_catalog',
			'order', ` + orderSQL + `) ORDER BY k.pos)) AS key
		FROM pg_index i
		CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS k(pos)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.pos]
		JOIN pg_opclass oc ON oc.oid = i.indclass[k.pos]
		CROSS JOIN LATERAL (SELECT ` + operatorSQL + `1) AS lt, ` + operatorSQL + `2) AS le, ` + operatorSQL + `5) AS gt) o
		WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
		AND (i.indisprimary OR i.indisreplident)
		GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
		HAVING bool_and(a.attnotnull AND o.lt IS NOT NULL)
	) x))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`

// errNoTable says that a node has no such table.
var errNoTable = errors.New("there is no such table")

func define(ctx context.Context, conn *pgconn.PgConn, name topology.TableName) (*definition, error) {
	got, err := query(ctx, conn, definitionSQL, []byte(name.Schema), []byte(name.Name))
	if err != nil {
		return nil, fmt.Errorf("definition of table %s: %w", name, err)
	}
	if len(got) == 0 {
		return nil, errNoTable
	}
	d := &definition{}
	if err := json.Unmarshal(got[0][0], d); err != nil {
		return nil, fmt.Errorf("definition of table %s: %w", name, err)
	}
	return d, nil
}

// on returns the index over just these columns, its columns in their order.
func (d *definition) on(names []string) []keyColumn {
	for _, k := range d.Keys {
		if len(k.Columns) != len(names) {
			continue
		}
		out := make([]keyColumn, 0, len(names))
		for _, n := range names {
			if i := slices.IndexFunc(k.Columns, func(c keyColumn) bool { return c.Name == n }); i >= 0 {
				out = append(out, k.Columns[i])
			}
		}
		if len(out) == len(names) {
			return out
		}
	}
	return nil
}
