package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"healer/postgres"
	"healer/topology"
)

// readOwn reads Healer's publications as they are in the transaction.
func readOwn(ctx context.Context, tx postgres.Tx) (published, error) {
	var p published
	err := txJSON(ctx, tx, &p, PublishedSQL, []string{pubAll, pubInserts})
	return p, err
}

const identitiesSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', n.nspname, 'name', c.relname, 'identity', ` + IdentitySQL + `)), '[]')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p')
	AND (n.nspname, c.relname) IN (SELECT w->>'schema', w->>'name' FROM jsonb_array_elements($1::text::jsonb) w)`

// readIdentities reads the replica identities of those tables that exist.
func readIdentities(ctx context.Context, tx postgres.Tx, names []topology.TableName) (map[topology.TableName]string, error) {
	asked, err := json.Marshal(names)
	if err != nil {
		return nil, fmt.Errorf("names of tables: %w", err)
	}
	if len(names) == 0 {
		asked = []byte("[]")
	}
	var rows []shape
	if err := txJSON(ctx, tx, &rows, identitiesSQL, string(asked)); err != nil {
		return nil, err
	}
	found := make(map[topology.TableName]string, len(rows))
	for _, r := range rows {
		found[r.TableName] = r.Identity
	}
	return found, nil
}

// txJSON is Server.JSON within a transaction.
func txJSON(ctx context.Context, tx postgres.Tx, into any, sql string, args ...any) error {
	var raw []byte
	if err := tx.QueryRow(ctx, sql, args...).Scan(&raw); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}
