// Package pgtest gives tests their PostgreSQL: servers and meshes of localpg that
// end with the test, and that fail the test, with the remedy, where no
// PostgreSQL is found. It never skips but for pglogical, which is not installed everywhere,
// and not for that either where CI is set.
//
// It must only be imported by tests.
package pgtest
