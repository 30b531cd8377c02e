package spock

import (
	"encoding/json"
	"fmt"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/spock/wire"
	"healer/topology"
)

// The methods of engine.Plugged.

// Plugin is spock_output.
func (Dialect) Plugin() string { return wire.Plugin }

// reading is what has to be known of a node to read its log.
type reading struct {
	Node    string `json:"node"`
	Version int    `json:"version"`
	// Self is the node's own id, Origins what the ids in the log stand for.
	Self    uint32 `json:"self"`
	Origins []id   `json:"origins"`
}

// id is one that is in commits, and the name of the origin it stands for.
type id struct {
	ID   uint32 `json:"id"`
	Name string `json:"name"`
}

// idsSQL is an expression: what the ids in a node's commits stand for. Spock's apply
// workers write the id of a node, everybody else the roident of the origin.
const idsSQL = `(SELECT coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'name', i.name) ORDER BY i.id, i.name), '[]') FROM (
	SELECT s.sub_origin::bigint AS id, s.sub_slot_name::text AS name
	FROM spock.subscription s JOIN spock.local_node l ON l.node_id = s.sub_target
	UNION SELECT roident::bigint, roname FROM pg_replication_origin) i)`

// Reading asks the node who it is, and what the ids in its log stand for.
func (Dialect) Reading() string {
	return `SELECT jsonb_build_object('node', n.node_name, 'self', l.node_id::bigint,
		'version', spock.spock_version_num(), 'origins', ` + idsSQL + `)
	FROM spock.local_node l JOIN spock.node n ON n.node_id = l.node_id`
}

// read decodes an answer to Reading. An id that stands for two things is refused: whose a
// transaction is could not be told.
func read(answer []byte) (reading, map[uint16]string, error) {
	var r reading
	if err := json.Unmarshal(answer, &r); err != nil {
		return r, nil, fmt.Errorf("what Spock says of the node: %w", err)
	}
	names := map[uint16]string{}
	for _, o := range r.Origins {
		key := uint16(o.ID) //nolint:gosec // RepOriginId has 16 bits
		other, taken := names[key]
		if uint32(key) != o.ID || o.ID == r.Self || (taken && other != o.Name) {
			return r, nil, ambiguous(r, o, other)
		}
		names[key] = o.Name
	}
	return r, names, nil
}

func ambiguous(r reading, o id, other string) error {
	switch {
	case o.ID == r.Self:
		other = "the node itself"
	case other == "":
		other = "an id of more than 16 bits"
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "origin_ambiguous", Node: r.Node,
		Err:  fmt.Errorf("id %d in its commits stands for replication origin %q and for %q", o.ID, o.Name, other),
		Hint: "drop the replication origin whose number it is, or give the node another name: its id is a hash of that",
	}
}

// Format reads the log with the sets.
func (Dialect) Format(answer []byte, sets []string) (engine.Format, error) {
	r, names, err := read(answer)
	if err != nil {
		return nil, err
	}
	return wire.NewTranslator(wire.Source{
		Version: r.Version, Sets: sets,
		Origins: wire.Origins{Self: uint16(r.Self), Names: names}, //nolint:gosec // RepOriginId has 16 bits
	}), nil
}

// Counting reads protocol 4: a byte for the kind, one for flags, and in ORIGIN the LSN in
// 64 bits and the id in 16. The apply worker of Spock 5 has transactions of its own under
// the same LSN, without a change that is sent.
func (Dialect) Counting() string {
	return `WITH ids AS (
		SELECT roident::bigint AS id FROM pg_replication_origin WHERE roname = $3
		UNION SELECT sub_origin::bigint FROM spock.subscription WHERE sub_slot_name::text = $3
	), messages AS MATERIALIZED (
		SELECT c.n, chr(get_byte(c.data, 0)) AS kind, c.data
		FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, VARIADIC $2::text[]) WITH ORDINALITY AS c(lsn, xid, data, n)
	), numbered AS (
		SELECT kind, data, count(*) FILTER (WHERE kind = 'B') OVER (ORDER BY n) AS tx FROM messages
	)
	SELECT count(*) FROM (
		SELECT tx FROM numbered GROUP BY tx
		HAVING bool_or(kind IN ('I', 'U', 'D', 'T')) AND bool_or(kind = 'O'
			AND (get_byte(data, 10) * 256 + get_byte(data, 11))::bigint IN (SELECT id FROM ids)
			AND '0/0'::pg_lsn + ('x' || encode(substring(data FROM 3 FOR 8), 'hex'))::bit(64)::bigint > $4::pg_lsn)
	) t`
}

// CountOptions ask for protocol 4.
func (Dialect) CountOptions(answer []byte, sets []string) ([]string, error) {
	r, _, err := read(answer)
	return wire.OldOptions(r.Version, sets), err
}

// Adopts is the slot that one line of development of Spock keeps for each database
// (RECOVERY_SLOT_NAME_FORMAT in include/spock_recovery.h of its branch RECOVERY-SLOT). The
// slots for each peer have the names that Healer gives them.
func (Dialect) Adopts(database string) string { return "spk_recovery_" + database }

// Progress is the greatest of what is told; see the package's comment. What only the
// commits' id tells was read from the log after a crash, and is on disk; what the table
// tells was committed behind the data, which the flush of the origin covers.
func (Dialect) Progress() string {
	return `SELECT to_jsonb(greatest(pg_replication_origin_progress($1, $2), '0/0', (
		SELECT ` + progressed(`'0/0'::pg_lsn`) + ` FROM spock.subscription s WHERE s.sub_slot_name::text = $1 LIMIT 1)))`
}

// Settle moves the origin, which fails when somebody holds it.
func (Dialect) Settle() string {
	return `SELECT to_jsonb(coalesce(bool_or(m.moved), false)) FROM (
		SELECT pg_replication_origin_advance(p.name, p.at) IS NOT NULL AS moved FROM (
			SELECT s.sub_slot_name::text AS name, o.at AS named, ` + progressed(`o.at`) + ` AS at
			FROM spock.subscription s, LATERAL (SELECT coalesce(pg_replication_origin_progress(s.sub_slot_name::text, false), '0/0') AS at) o
			WHERE s.sub_id::bigint = $1 AND NOT s.sub_enabled OFFSET 0) p
		WHERE p.at > p.named) m`
}

// Halt kills the worker at once, which it may do outside of a transaction only
// (spock_alter_subscription_disable in src/spock_functions.c).
func (Dialect) Halt(name string) string {
	return "SELECT spock.sub_disable(" + postgres.Literal(name) + ", true)"
}

// Discarded reads spock.exception_log, without what an operator has marked as resolved.
func (Dialect) Discarded() string {
	return `SELECT to_jsonb(coalesce((extract(epoch FROM max(e.remote_commit_ts)) * 1000000)::bigint, 0))
	FROM spock.exception_log e JOIN spock.subscription s ON s.sub_origin = e.remote_origin
	WHERE s.sub_id::bigint = $1 AND NOT EXISTS (
		SELECT FROM spock.exception_status x
		WHERE x.remote_origin = e.remote_origin AND x.remote_commit_ts = e.remote_commit_ts
		AND x.retry_errored_at = e.retry_errored_at AND x.resolved_at IS NOT NULL)`
}
