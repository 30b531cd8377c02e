package workload

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Namespace is the schema that has all tables of the workload.
const Namespace = "healer_chaos"

// Schema is the SQL that makes the tables for clients on these nodes. It is run on
// every node before the tables are replicated, and changes nothing where they are.
//
// The journal has no key on purpose: what is applied twice stands there twice. But what
// has no key is carried row by row, with all of its transaction; so every second node
// writes into a ledger instead, which has one, and entries shows both. A
// TRUNCATE takes what is on its way from others on one node and not on another, so each
// node has a table of its own to empty.
func Schema(nodes ...string) []string {
	all := []string{
		`create schema if not exists ` + Namespace,
		`create table if not exists ` + Namespace + `.journal (
			node text not null, client int not null, sequence bigint not null, op int not null, total int not null)`,
		`create index if not exists journal_sequence on ` + Namespace + `.journal (node, client, sequence)`,
		`create table if not exists ` + Namespace + `.ledger (
			node text not null, client int not null, sequence bigint not null, op int not null, total int not null, tx text not null,
			primary key (node, client, sequence, op))`,
		`create or replace view ` + Namespace + `.entries as
			select node, client, sequence, op, total, xmin::text::bigint as writer from ` + Namespace + `.journal
			union all select node, client, sequence, op, total, xmin::text::bigint from ` + Namespace + `.ledger`,
		`create table if not exists ` + Namespace + `.account (
			node text not null, id int not null, balance bigint not null, tx text not null, primary key (node, id))`,
		`create table if not exists ` + Namespace + `.item (
			id bigint primary key, v bigint not null, tx text not null, pad text)`,
	}
	for _, n := range nodes {
		all = append(all, fmt.Sprintf(`create table if not exists %s (id bigint primary key, tx text not null)`, scrap(n)))
	}
	return all
}

// Tables are all tables of clients on these nodes, as SQL.
func Tables(nodes ...string) []string {
	all := []string{"journal", "ledger", "account", "item"}
	for i, t := range all {
		all[i] = pgx.Identifier{Namespace, t}.Sanitize()
	}
	for _, n := range nodes {
		all = append(all, scrap(n))
	}
	return all
}

// scrap is the table that only the clients of a node write, and empty.
func scrap(node string) string { return pgx.Identifier{Namespace, "scrap_" + node}.Sanitize() }

// Settings are what the servers need for transactions in two phases.
func Settings() map[string]string { return map[string]string{"max_prepared_transactions": "40"} }

// Setup makes the tables on every node. Whoever replicates by a list of tables adds
// them to it before the clients start.
func Setup(ctx context.Context, nodes ...Node) error {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	for _, n := range nodes {
		if err := setup(ctx, n, Schema(names...)); err != nil {
			return fmt.Errorf("workload: the tables on %s: %w", n.Name, err)
		}
	}
	return nil
}

func setup(ctx context.Context, n Node, sql []string) error {
	conn, err := n.On.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, s := range sql {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
