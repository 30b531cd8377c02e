package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"healer/postgres"
	"healer/topology"
)

// Inspect adds to the observation what a recovery of the origin has to know of
// the tables of those that subscribe to it, and who is at such a recovery now.
// It is read for a plan only: it costs some statements on each of them. An error
// means that something is not known, and nothing must be planned on the rest.
func (e *Engine) Inspect(ctx context.Context, obs topology.Observation, origin string) (topology.Observation, error) {
	obs.Nodes = slices.Clone(obs.Nodes)
	views := make([]*tableView, len(obs.Nodes))
	err := e.eachReader(ctx, obs, origin, func(ctx context.Context, i int, s *postgres.Server, sub topology.Subscription) error {
		names := []string{}
		if serves(obs, obs.Nodes[i].Name, origin) {
			names = served(obs, obs.Nodes[i].Name)
		}
		t, err := e.tongue(ctx, s)
		if err != nil {
			return err
		}
		if t.plugged() != nil && len(names) > 0 {
			names = sub.Publications
		} else if !t.Decodable() {
			names = slices.DeleteFunc(names, func(n string) bool { return n != pubAll && n != pubInserts })
		}
		v, err := e.readTables(ctx, s, sub.ID, names, topology.RecoveryLock(origin))
		v.sub, views[i] = sub, &v
		return err
	})
	if err != nil {
		return obs, err
	}
	err = e.eachReader(ctx, obs, origin, func(ctx context.Context, i int, s *postgres.Server, _ topology.Subscription) error {
		receives, err := readColumns(ctx, s, views[i].wants(views))
		obs.Nodes[i].Schema = &topology.Schema{Origin: origin, Receives: receives}
		if views[i].Held {
			obs.Nodes[i].Applying = []string{origin}
		}
		return err
	})
	if err != nil {
		return obs, err
	}
	for i, v := range views {
		if v != nil {
			v.publishes(obs, obs.Nodes[i], origin)
		}
	}
	return obs, e.doubtful(ctx, obs, origin)
}

// doubtful adds what speaks against a node as a source of the origin's transactions: it
// took some for applied, behind what a laggard has, without applying them. What has to be
// told of a table before its changes can be carried keeps a node out as well.
func (e *Engine) doubtful(ctx context.Context, obs topology.Observation, origin string) error {
	return e.eachReader(ctx, obs, origin, func(ctx context.Context, i int, s *postgres.Server, sub topology.Subscription) error {
		t, err := e.tongue(ctx, s)
		if err != nil || t.plugged() == nil {
			return err
		}
		n := &obs.Nodes[i]
		n.Findings = slices.Clone(n.Findings)
		for j := range n.Findings {
			n.Findings[j].Blocking = n.Findings[j].Blocking || n.Findings[j].Code == UncarriedTables
		}
		if !serves(obs, n.Name, origin) {
			return nil
		}
		var micros int64
		if err := s.JSON(ctx, &micros, t.plugged().Discarded(), int64(sub.ID)); err != nil || micros == 0 {
			return err
		}
		since, err := e.oldestCommit(ctx, obs, n.Name, origin)
		if at := time.UnixMicro(micros).UTC(); err == nil && at.After(since) {
			n.Findings = append(n.Findings, topology.Finding{
				Code: "transactions_discarded", Blocking: true,
				Detail: fmt.Sprintf("subscription %q has discarded a transaction of %s committed at %s: what is told of its progress is not what is there", sub.Name, origin, at),
				Remedy: "compare the survivors by hand (healer verify), and mark what spock.exception_log has as resolved in spock.exception_status",
			})
		}
		return err
	})
}

// UncarriedTables is the code of the finding that names tables whose changes cannot be
// carried over.
const UncarriedTables = "uncarried_tables"

// oldestCommit is the commit timestamp of the origin's last transaction that all those
// have who lag behind the node; zero when one of them does not know it.
func (e *Engine) oldestCommit(ctx context.Context, obs topology.Observation, node, origin string) (time.Time, error) {
	ahead, _ := obs.Node(node)
	own, _ := ahead.From(origin)
	var oldest time.Time
	for i, n := range slices.DeleteFunc(slices.Clone(obs.Nodes), func(n topology.NodeState) bool {
		sub, ok := n.From(origin)
		_, marked := n.GapOf(origin)
		return n.Name == node || !ok || !n.Reachable || (!marked && sub.Progress >= own.Progress)
	}) {
		sub, _ := n.From(origin)
		at, err := e.LastCommit(ctx, n.Name, sub)
		if err != nil {
			return time.Time{}, err
		}
		if i == 0 || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest, nil
}

// eachReader runs fn, side by side, for each node of the observation that
// subscribes to the origin.
func (e *Engine) eachReader(
	ctx context.Context, obs topology.Observation, origin string,
	fn func(ctx context.Context, i int, s *postgres.Server, sub topology.Subscription) error,
) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range obs.Nodes {
		sub, ok := n.From(origin)
		if !ok || !n.Reachable || n.InRecovery {
			continue
		}
		s, err := e.server(n.Name)
		if err != nil {
			return err
		}
		group.Go(func() error { return fn(ctx, i, s, sub) })
	}
	return group.Wait()
}

// serves reports whether the node may be somebody's source. What another's
// publications hold is not asked: that waits for locks on their tables, and a
// laggard may lag because somebody locks them.
func serves(obs topology.Observation, node, origin string) bool {
	n, _ := obs.Node(node)
	own, _ := n.From(origin)
	for _, other := range obs.Nodes {
		sub, ok := other.From(origin)
		_, marked := other.GapOf(origin)
		if other.Name != node && ok && (marked || sub.Progress < own.Progress) {
			return true
		}
	}
	return false
}

// served are the publications through which a node's log may be read: Healer's
// own, and those that its peers subscribe to.
func served(obs topology.Observation, node string) []string {
	names := []string{pubAll, pubInserts}
	for _, n := range obs.Nodes {
		if sub, ok := n.From(node); ok {
			names = append(names, sub.Publications...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tableView is what one node's catalogs say of the tables, in one snapshot: the
// ages in it compare.
type tableView struct {
	sub topology.Subscription
	// Ready and Known are the tables of the subscription: those whose first
	// copy is finished, and all.
	Ready []topology.TableName `json:"ready"`
	Known []topology.TableName `json:"known"`
	// Published is how the publications publish.
	Published published `json:"published"`
	// Slots has the age of each slot's catalog_xmin.
	Slots map[string]int64 `json:"slots"`
	// plugged is set when the sets themselves are decoded, and Published has them.
	plugged bool
	// Held is true while somebody holds the apply lock.
	Held bool `json:"held"`
}

const viewSQL = `SELECT jsonb_build_object(
	'ready', (SELECT coalesce(jsonb_agg(t) FILTER (WHERE ready), '[]') FROM rels),
	'known', (SELECT coalesce(jsonb_agg(t), '[]') FROM rels),
	'published', (%s),
	'slots', (SELECT coalesce(jsonb_object_agg(slot_name, age(catalog_xmin)), '{}')
		FROM pg_replication_slots WHERE database = current_database() AND catalog_xmin IS NOT NULL),
	'held', EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND (classid::bigint << 32 | objid::bigint) = $3))
FROM (SELECT) one`

const relsSQL = `WITH rels AS (
	SELECT jsonb_build_object('schema', r.schema, 'name', r.name) AS t, r.ready FROM (%s) AS r) `

func (e *Engine) readTables(ctx context.Context, s *postgres.Server, id uint32, publications []string, lock int64) (tableView, error) {
	t, err := e.tongue(ctx, s)
	if err != nil {
		return tableView{}, err
	}
	var v tableView
	published := PublishedSQL
	if t.plugged() != nil {
		published = t.Sends()
	}
	err = s.JSONOfTables(ctx, &v, fmt.Sprintf(relsSQL, t.Tables("$2::bigint"))+fmt.Sprintf(viewSQL, published), publications, int64(id), lock)
	v.plugged = t.plugged() != nil
	return v, err
}

// wants are the tables that the node receives, and those that others receive
// through the same publications and its subscription has never heard of.
func (v *tableView) wants(all []*tableView) []topology.TableName {
	names := slices.Clone(v.Ready)
	for _, other := range all {
		if other == nil || other == v || !samePublications(v.sub.Publications, other.sub.Publications) {
			continue
		}
		for _, t := range other.Ready {
			if !slices.Contains(v.Known, t) && !slices.Contains(names, t) {
				names = append(names, t)
			}
		}
	}
	return names
}

const columnsSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', t.schema, 'name', t.name, 'missing', c.oid IS NULL,
		'columns', coalesce((SELECT jsonb_agg(jsonb_build_object('name', a.attname,
				'type', format_type(a.atttypid, a.atttypmod), 'category', y.typcategory) ORDER BY a.attnum)
			FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]')
	) ORDER BY t.schema, t.name), '[]')
	FROM unnest($1::text[], $2::text[]) AS t(schema, name)
	LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND c.relkind IN ('r', 'p'))
		ON n.nspname = t.schema AND c.relname = t.name`

func readColumns(ctx context.Context, s *postgres.Server, names []topology.TableName) ([]topology.Table, error) {
	var schemas, tables []string
	for _, t := range names {
		schemas, tables = append(schemas, t.Schema), append(tables, t.Name)
	}
	var out []topology.Table
	err := s.JSON(ctx, &out, columnsSQL, schemas, tables)
	return out, err
}

// publishes fills in, for each peer that reads the origin too, what the node's
// log can be decoded with, by the rule of Publications.
func (v *tableView) publishes(obs topology.Observation, n topology.NodeState, origin string) {
	n.Schema.Publishes, n.Schema.Younger = map[string][]topology.Table{}, map[string][]topology.TableName{}
	for _, peer := range obs.Nodes {
		if peer.Schema == nil || peer.Name == n.Name {
			continue
		}
		lines := v.Published.of(pubAll, pubInserts)
		if v.plugged {
			lines = v.Published
		} else if via, ok := peer.From(n.Name); ok && len(missing(lines, namesOf(peer.Schema.Receives), anyShape)) > 0 {
			lines = slices.DeleteFunc(v.Published.of(via.Publications...), func(s shape) bool { return !whole(s) })
		}
		n.Schema.Publishes[peer.Name] = lines.tables()
		for _, slot := range n.Slots {
			ours := slot.Kind == topology.SlotRecovery || (slot.Kind == topology.SlotClone && slot.Origin == origin)
			if age, ok := v.Slots[slot.Name]; ok && ours && slot.To == peer.Name {
				n.Schema.Younger[slot.Name] = lines.younger(age)
			}
		}
	}
}

func namesOf(tables []topology.Table) []topology.TableName {
	names := make([]topology.TableName, len(tables))
	for i, t := range tables {
		names[i] = t.TableName
	}
	return names
}

// tables joins the lines of each table.
func (p published) tables() []topology.Table {
	var out []topology.Table
	for _, s := range p {
		i := slices.IndexFunc(out, func(t topology.Table) bool { return t.TableName == s.TableName })
		if i < 0 {
			out = append(out, topology.Table{TableName: s.TableName})
			i = len(out) - 1
		}
		for _, c := range s.Typed {
			if _, ok := out[i].Column(c.Name); !ok {
				out[i].Columns = append(out[i].Columns, c)
			}
		}
	}
	return out
}

// younger are the tables that no line has had for longer than a slot whose
// catalog_xmin has that age. Every transaction before a slot's catalog_xmin had
// ended at its position: a table that joined by one of those is decoded from
// there on. One that joined by a later transaction may have done so behind the
// slot's position or before it.
func (p published) younger(slot int64) []topology.TableName {
	oldest := map[topology.TableName]int64{}
	for _, s := range p {
		oldest[s.TableName] = max(oldest[s.TableName], s.Age)
	}
	var out []topology.TableName
	for _, s := range p {
		if oldest[s.TableName] <= slot && !slices.Contains(out, s.TableName) {
			out = append(out, s.TableName)
		}
	}
	return out
}
