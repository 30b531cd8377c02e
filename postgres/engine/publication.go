package engine

import (
	"context"
	"fmt"
	"slices"

	"healer/postgres"
	"healer/topology"
)

const (
	// pubAll is Healer's own publication of the replicated tables.
	pubAll = "healer"
	// pubInserts has those without a replica identity: publishing their
	// updates would make every UPDATE and DELETE of them fail.
	pubInserts = "healer_inserts"
)

// Publications are the names to decode the source's WAL with, so that every
// table which target receives from lost is in them: Healer's own where they
// cover the tables, since they were made for what the mesh's do not serve; else
// those of the source that target subscribes to anyway, if they publish the
// tables whole. Otherwise a fault ("no_publication").
func (e *Engine) Publications(ctx context.Context, source, target, lost string) ([]string, error) {
	s, d, err := e.at(ctx, source)
	if err != nil {
		return nil, err
	}
	if d.plugged() != nil {
		return e.sets(ctx, source, target, lost)
	}
	t, from, err := e.reading(ctx, target, lost)
	if err != nil {
		return nil, err
	}
	need, err := e.receives(ctx, t, from, source, lost)
	if err != nil {
		return nil, err
	}
	_, via, err := e.reading(ctx, target, source)
	if err != nil {
		return nil, err
	}
	if !d.Decodable() {
		if err := e.sameSets(ctx, source, target, lost); err != nil {
			return nil, err
		}
		via.Publications = nil
	}
	published, err := readPublished(ctx, s, append([]string{pubAll, pubInserts}, via.Publications...))
	if err != nil {
		return nil, err
	}
	ours := published.of(pubAll, pubInserts)
	if len(missing(ours, need, anyShape)) == 0 {
		return ours.names(), nil
	}
	uncovered := missing(published.of(via.Publications...), need, whole)
	if len(uncovered) == 0 {
		return via.Publications, nil
	}
	return nil, &topology.Fault{
		Class: topology.Permanent, Code: "no_publication", Node: source,
		Hint: "the keeper makes publication " + pubAll + "; WAL older than it cannot be decoded",
		Err:  fmt.Errorf("no publication of %s covers table %v, which %s receives from %s", source, uncovered[0], target, lost),
	}
}

// published is how publications publish tables, a line for each of both.
type published []shape

// shape is how one publication publishes one table.
type shape struct {
	topology.TableName
	Publication string `json:"publication"`
	// Filter is the row filter's expression; empty when there is none.
	Filter string `json:"filter"`
	// Sifted is a filter that no publication has, but the replay applies.
	Sifted string `json:"-"`
	// Columns are the columns published, in order; empty when all are.
	Columns []string `json:"columns"`
	// Identity is what identifies a row of the table on this node: the key's
	// columns, "*" for all, empty for none.
	Identity string `json:"identity"`
	Insert   bool   `json:"insert"`
	Update   bool   `json:"update"`
	Delete   bool   `json:"delete"`
	Truncate bool   `json:"truncate"`
	// Typed are all columns that are published.
	Typed []topology.Column `json:"typed"`
	// Age is how many transactions ago it came to be published like this; of
	// what was frozen since, any number.
	Age int64 `json:"age"`
}

// whole reports that nothing of the table's rows is held back.
func whole(s shape) bool {
	return s.Filter == "" && len(s.Columns) == 0 && s.Insert && s.Update && s.Delete
}

func anyShape(shape) bool { return true }

// of keeps the lines of the named publications.
func (p published) of(names ...string) published {
	return slices.DeleteFunc(slices.Clone(p), func(s shape) bool { return !slices.Contains(names, s.Publication) })
}

// names lists the publications, sorted.
func (p published) names() []string {
	var names []string
	for _, s := range p {
		names = append(names, s.Publication)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// missing returns the needed tables that no fitting line publishes.
func missing(p published, need []topology.TableName, fits func(shape) bool) []topology.TableName {
	have := make(map[topology.TableName]bool)
	for _, s := range p {
		if fits(s) {
			have[s.TableName] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(need), func(t topology.TableName) bool { return have[t] })
}

// IdentitySQL is an expression: the replica identity of table c: of a partitioned one, that
// of its partitions, where they agree, for it is them that change.
const IdentitySQL = `(SELECT CASE WHEN min(i.key) = max(i.key) AND count(i.key) = count(*) THEN min(i.key) ELSE '' END
	FROM (
		SELECT CASE leaf.relreplident
			WHEN 'f' THEN '*'
			WHEN 'n' THEN NULL
			ELSE (SELECT string_agg(a.attname, ',' ORDER BY a.attname)
				FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
				WHERE x.indrelid = leaf.oid AND x.indisvalid
				AND CASE leaf.relreplident WHEN 'd' THEN x.indisprimary ELSE x.indisreplident END)
			END AS key
		FROM pg_class leaf
		WHERE leaf.oid = c.oid AND c.relkind <> 'p'
		OR leaf.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p WHERE p.isleaf AND c.relkind = 'p')
	) i)`

// publishedAgeSQL is how many transactions ago publication p came to publish
// table c: the youngest of the publication itself and the oldest of what names
// the table in it. The xmin of a row that was frozen long ago may have come
// round and look like one of the future.
const publishedAgeSQL = `least(CASE WHEN age(p.xmin) < 0 THEN 2147483647 ELSE age(p.xmin) END, CASE WHEN p.puballtables THEN 2147483647 ELSE (
		SELECT max(age) FROM (
			SELECT CASE WHEN age(r.xmin) < 0 THEN 2147483647 ELSE age(r.xmin) END AS age FROM pg_publication_rel r
			WHERE r.prpubid = p.oid AND (r.prrelid = c.oid OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))
			UNION ALL
			SELECT CASE WHEN age(s.xmin) < 0 THEN 2147483647 ELSE age(s.xmin) END FROM pg_publication_namespace s
			WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace
		) ages) END)`

// PublishedSQL is the query for how the publications of the names in parameter 1
// publish; a line for each table of each. pg_publication_tables lists what a publication really publishes: the root of
// a partitioned table or its leaves, as the publication has it, and the tables
// of schemas and of FOR ALL TABLES one by one.
const PublishedSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', t.schemaname, 'name', t.tablename, 'publication', t.pubname,
		'filter', coalesce(t.rowfilter, ''),
		'columns', CASE WHEN EXISTS (
				SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
				AND NOT a.attisdropped AND a.attgenerated = '' AND NOT a.attname = ANY (t.attnames))
			THEN to_jsonb(t.attnames) END,
		'identity', ` + IdentitySQL + `,
		'typed', coalesce((
			SELECT jsonb_agg(jsonb_build_object('name', a.attname,
				'type', format_type(a.atttypid, a.atttypmod), 'category', y.typcategory) ORDER BY a.attnum)
			FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
			WHERE a.attrelid = c.oid AND a.attname = ANY (t.attnames) AND a.attgenerated = ''), '[]'),
		'age', ` + publishedAgeSQL + `,
		'insert', p.pubinsert, 'update', p.pubupdate, 'delete', p.pubdelete, 'truncate', p.pubtruncate
	) ORDER BY t.schemaname, t.tablename, t.pubname), '[]')
	FROM pg_publication_tables t
	JOIN pg_publication p ON p.pubname = t.pubname
	JOIN pg_namespace n ON n.nspname = t.schemaname
	JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
	WHERE t.pubname = ANY ($1)`

func readPublished(ctx context.Context, s *postgres.Server, names []string) (published, error) {
	var p published
	err := s.JSONOfTables(ctx, &p, PublishedSQL, names)
	return p, err
}

// sends reads what a node sends to who subscribes to those sets.
func (e *Engine) sends(ctx context.Context, node string, sets []string) (published, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return nil, err
	}
	var p published
	err = s.JSONOfTables(ctx, &p, t.Sends(), sets)
	return p, err
}
