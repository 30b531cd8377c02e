package engine

import (
	"context"

	"healer/postgres"
	"healer/topology"
)

// countSQL counts the transactions of an origin in a slot's WAL, by the message
// that pgoutput sends for each of them: 'O', the LSN at the origin in 64 bits, the
// origin's name, a zero byte. Peeking leaves the slot where it is.
const countSQL = `SELECT count(*) FROM (
	SELECT ('x' || encode(substring(data FROM 2 FOR 8), 'hex'))::bit(64)::bigint AS lsn,
		substring(data FROM 10 FOR length(data) - 10) AS origin
	FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		VARIADIC ARRAY['proto_version', '1', 'publication_names', $2] || ` + postgres.AnyOrigin + `)
	WHERE get_byte(data, 0) = ascii('O')) m
	WHERE origin = convert_to($3, 'SQL_ASCII') AND lsn > $4`

// CountForeign counts the transactions behind from that the node holds of the
// subscription's provider and that the WAL of its recovery slot still has, as far
// as they change what Healer's publications of the node cover.
func (e *Engine) CountForeign(ctx context.Context, node, slot string, sub topology.Subscription, from topology.LSN) (int64, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return 0, err
	}
	if t.plugged() != nil {
		return t.countPlugged(ctx, s, slot, sub, from)
	}
	sets := []string{pubAll, pubInserts}
	if t.Decodable() {
		sets = append(sets, sub.Publications...)
	}
	ours, err := readPublished(ctx, s, sets)
	if err != nil {
		return 0, err
	}
	names := ""
	for i, n := range ours.names() {
		if i > 0 {
			names += ","
		}
		names += `"` + n + `"`
	}
	var count int64
	err = s.Slow(ctx, countSQL, []any{slot, names, sub.Origin, int64(from)}, &count) //nolint:gosec // as PostgreSQL has it
	return count, err
}
