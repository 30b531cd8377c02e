// Package native is the dialect of PostgreSQL's own logical replication, 16 to 18:
// pg_subscription, publications, and ALTER SUBSCRIPTION.
package native
