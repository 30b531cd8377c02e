package fault

import (
	"context"
	"errors"
	"fmt"
)

// ddlTable is what the column is added to: the first replicated table by name that
// has no such column.
const ddlColumn = `select quote_ident(schemaname) || '.' || quote_ident(tablename)
	from pg_publication_tables where pubname not like 'healer%' order by 1 limit 1`

// ddl adds a column to a replicated table, node after node. Where a node cannot be
// reached it gets it when the fault is healed, as a migration tool would do.
func ddl(ctx context.Context, w World, _ Fault, a *Active) error {
	table, err := anywhere(ctx, w, ddlColumn)
	if err != nil {
		return err
	}
	last, err := anywhere(ctx, w, `select 'chaos_' || count(*)::text from pg_attribute
		where attrelid = `+quote(table)+`::regclass and attname like 'chaos\_%' and not attisdropped`)
	if err != nil {
		return err
	}
	add := func(ctx context.Context, n string) error {
		return w.SQL(n).Exec(ctx, `set lock_timeout = '2s'; alter table `+table+` add column if not exists `+identifier(last)+` int`)
	}
	done := 0
	for _, n := range w.Nodes() {
		a.onHeal(func(ctx context.Context) error { return await(ctx, func() error { return add(ctx, n) }) })
		if err := add(ctx, n); err == nil {
			done++
		}
	}
	if done == 0 {
		return errors.New("no node took the column")
	}
	a.Proof = fmt.Sprintf("%d of %d nodes have the column %s of %s", done, len(w.Nodes()), last, table)
	return nil
}

// anywhere asks the nodes, one after the other, until one answers.
func anywhere(ctx context.Context, w World, sql string) (string, error) {
	var errs []error
	for _, n := range w.Nodes() {
		got, err := w.SQL(n).Texts(ctx, sql)
		if err == nil && len(got) == 1 {
			return got[0], nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no node answers: %w", errors.Join(errs...))
}
