package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// SourceOrigin is the name of the replication origin under which the node
// applies the provider's transactions.
func (e *Engine) SourceOrigin(ctx context.Context, node, provider string) (string, error) {
	_, sub, err := e.reading(ctx, node, provider)
	if err != nil {
		return "", err
	}
	return sub.Origin, nil
}

// OriginMap tells who wrote a row: for each replication origin of the node by
// its roident, the author's name. Rows a table's first copy brought are its
// provider's too; a repaired row is the author's whose row won. Origins that
// belong to no node are left out; the node's own rows have roident 0.
func (e *Engine) OriginMap(ctx context.Context, node string) (map[uint32]string, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return nil, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return nil, err
	}
	byID := make(map[uint32]string)
	for _, sub := range subs {
		byID[sub.ID] = e.providers.of(node, sub)
	}
	var idents map[string]uint32
	const sql = `SELECT coalesce(jsonb_object_agg(roname, roident::bigint), '{}') FROM pg_replication_origin`
	if err := s.JSON(ctx, &idents, sql); err != nil {
		return nil, err
	}
	authors := make(map[uint32]string)
	for name, ident := range idents {
		author, ok := mark.ParseRepair(name)
		if !ok {
			id, _ := t.Author(name, subs)
			author = byID[id]
		}
		if author != "" {
			authors[ident] = author
		}
	}
	for _, sub := range subs {
		if author := byID[sub.ID]; sub.Writer != 0 && author != "" {
			authors[sub.Writer] = author
		}
	}
	return authors, nil
}

const tablesSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object('schema', r.schema, 'name', r.name) ORDER BY r.schema, r.name), '[]')
	FROM (%s) AS r WHERE $2 OR r.ready`

// Tables are the tables that the node receives through the subscription. A
// table whose first copy is not finished is not among them: its changes are
// contained in the copy still to come, and Observe reports it.
func (e *Engine) Tables(ctx context.Context, node string, sub topology.Subscription) ([]topology.TableName, error) {
	return with(e, node, func(s *postgres.Server) ([]topology.TableName, error) { return e.tablesOf(ctx, s, sub.ID, false) })
}

// Unknown are the tables that other receives through its subscription and that
// node's, to the same publications of the same provider, has never heard of: they
// are missing on node, or were made too late for it to ask. Nothing is known of
// tables when the publications differ.
func (e *Engine) Unknown(ctx context.Context, node string, sub topology.Subscription, other string, theirs topology.Subscription) ([]topology.TableName, error) {
	if !samePublications(sub.Publications, theirs.Publications) {
		return nil, nil
	}
	got, err := e.Tables(ctx, other, theirs)
	if err != nil {
		return nil, err
	}
	return with(e, node, func(s *postgres.Server) ([]topology.TableName, error) { return e.unknown(ctx, s, sub.ID, got) })
}

// unknown leaves of the tables those that a subscription does not know.
func (e *Engine) unknown(ctx context.Context, s *postgres.Server, id uint32, tables []topology.TableName) ([]topology.TableName, error) {
	known, err := e.tablesOf(ctx, s, id, true)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(tables), func(t topology.TableName) bool { return slices.Contains(known, t) }), nil
}

func samePublications(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// receives are the tables that a peer receives from an author, and those that it
// would if it had them, going by what node receives.
func (e *Engine) receives(ctx context.Context, peer *postgres.Server, from Subscription, node, author string) ([]topology.TableName, error) {
	need, err := e.tablesOf(ctx, peer, from.ID, false)
	if err != nil {
		return nil, err
	}
	s, own, err := e.reading(ctx, node, author)
	var fault *topology.Fault
	switch {
	case errors.As(err, &fault) && fault.Code == "no_subscription":
		return need, nil
	case err != nil:
		return nil, err
	case !samePublications(own.Publications, from.Publications):
		return need, nil
	}
	here, err := e.tablesOf(ctx, s, own.ID, false)
	if err != nil {
		return nil, err
	}
	more, err := e.unknown(ctx, peer, from.ID, here)
	return append(need, more...), err
}

// tablesOf reads the tables of a subscription, also those not ready if all are
// asked for.
func (e *Engine) tablesOf(ctx context.Context, s *postgres.Server, id uint32, all bool) ([]topology.TableName, error) {
	t, err := e.tongue(ctx, s)
	if err != nil {
		return nil, err
	}
	var names []topology.TableName
	if err := s.JSON(ctx, &names, fmt.Sprintf(tablesSQL, t.Tables("$1::bigint")), int64(id), all); err != nil {
		return nil, fmt.Errorf("tables of the subscription: %w", err)
	}
	return names, nil
}
