// Package grants knows what Healer's role must be allowed on a server: the least by
// which agents, recoveries and `healer verify` work without a superuser. It renders
// SQL and runs none.
//
// It imports nothing of Healer's.
package grants
