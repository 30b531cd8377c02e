package native

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	return originName(sub.OID), nil
}

// OriginMap tells who wrote a row: for each replication origin of the node by
// its roident, the author's name. Rows a table's first copy brought are its
// provider's too; a repaired row is the author's whose row won. Origins that
// belong to no node are left out; the node's own rows have roident 0.
func (e *Engine) OriginMap(ctx context.Context, node string) (map[uint32]string, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return nil, err
	}
	byOID := make(map[uint32]string)
	for _, sub := range subs {
		byOID[sub.OID] = e.providers.of(node, sub)
	}
	var idents map[string]uint32
	const sql = `SELECT coalesce(jsonb_object_agg(roname, roident::bigint), '{}') FROM pg_replication_origin`
	if err := s.JSON(ctx, &idents, sql); err != nil {
		return nil, err
	}
	authors := make(map[uint32]string)
	for name, ident := range idents {
		if author := authorOf(name, byOID); author != "" {
			authors[ident] = author
		}
	}
	return authors, nil
}

// authorOf reads the name of an origin: pg_<suboid> for an apply worker,
// pg_<suboid>_<reloid> for the copy of a table, or a repair.
func authorOf(origin string, providers map[uint32]string) string {
	if author, ok := mark.ParseRepair(origin); ok {
		return author
	}
	rest, ok := strings.CutPrefix(origin, "pg_")
	if !ok {
		return ""
	}
	head, _, _ := strings.Cut(rest, "_")
	oid, err := strconv.ParseUint(head, 10, 32)
	if err != nil {
		return ""
	}
	return providers[uint32(oid)]
}

const tablesSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname)
		ORDER BY n.nspname, c.relname), '[]')
	FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE r.srsubid::bigint = $1 AND ($2 OR r.srsubstate IN ('r', 's'))`

// Tables are the tables that the node receives through the subscription. A
// table whose first copy is not finished is not among them: its changes are
// contained in the copy still to come, and Observe reports it.
func (e *Engine) Tables(ctx context.Context, node string, sub topology.Subscription) ([]topology.TableName, error) {
	return with(e, node, func(s *postgres.Server) ([]topology.TableName, error) { return tables(ctx, s, sub.ID) })
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
	return with(e, node, func(s *postgres.Server) ([]topology.TableName, error) { return unknown(ctx, s, sub.ID, got) })
}

// unknown leaves of the tables those that a subscription does not know.
func unknown(ctx context.Context, s *postgres.Server, oid uint32, tables []topology.TableName) ([]topology.TableName, error) {
	known, err := tablesOf(ctx, s, oid, true)
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
func (e *Engine) receives(ctx context.Context, peer *postgres.Server, from subscription, node, author string) ([]topology.TableName, error) {
	need, err := tables(ctx, peer, from.OID)
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
	here, err := tables(ctx, s, own.OID)
	if err != nil {
		return nil, err
	}
	more, err := unknown(ctx, peer, from.OID, here)
	return append(need, more...), err
}

func tables(ctx context.Context, s *postgres.Server, oid uint32) ([]topology.TableName, error) {
	return tablesOf(ctx, s, oid, false)
}

// tablesOf reads the tables of a subscription, also those not ready if all are
// asked for.
func tablesOf(ctx context.Context, s *postgres.Server, oid uint32, all bool) ([]topology.TableName, error) {
	var names []topology.TableName
	err := s.JSON(ctx, &names, tablesSQL, int64(oid), all)
	if err != nil {
		return nil, fmt.Errorf("tables of the subscription: %w", err)
	}
	return names, nil
}
