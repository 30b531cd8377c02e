package spock

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"healer/postgres/engine"
	"healer/postgres/spock/wire"
	"healer/topology"
)

// answer is what Survey asks a node.
type answer struct {
	reading
	Release string `json:"release"`
	// Libraries is output_plugin_libraries, null where the server does not have it.
	Libraries *string `json:"libraries"`
	// Behaviour is spock.exception_behaviour, ReadOnly spock.readonly.
	Behaviour string `json:"behaviour"`
	ReadOnly  string `json:"readonly"`
	Standbys  string `json:"standbys"`
	// Deltas are tables whose changes Spock adds up instead of putting them in place.
	Deltas []string `json:"deltas"`
	// Empty are recovery slots without WAL.
	Empty []string `json:"empty"`
}

// Survey asks for settings, ids, tables with columns that are added up, and recovery
// slots that hold nothing. Such columns have options of Spock's patches to PostgreSQL
// (docs/conflicts.md).
func (Dialect) Survey() string {
	return `SELECT jsonb_build_object('node', n.node_name, 'self', l.node_id::bigint,
		'version', spock.spock_version_num(), 'release', spock.spock_version(), 'origins', ` + idsSQL + `,
		'libraries', current_setting('output_plugin_libraries', true),
		'behaviour', coalesce(current_setting('spock.exception_behaviour', true), ''),
		'readonly', coalesce(current_setting('spock.readonly', true), ''),
		'standbys', coalesce(current_setting('synchronous_standby_names', true), ''),
		'deltas', (SELECT coalesce(jsonb_agg(DISTINCT t.set_reloid::regclass::text), '[]') FROM spock.replication_set_table t
			JOIN pg_attribute a ON a.attrelid = t.set_reloid AND NOT a.attisdropped AND a.attnum > 0
			WHERE a.attoptions::text ~ '(log_old_value|delta_apply_function)='),
		'empty', (SELECT coalesce(jsonb_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots
			WHERE database = current_database() AND (slot_name LIKE 'spk\_recovery\_%' OR slot_name LIKE 'spock\_%\_recovery\_%')
			AND (restart_lsn IS NULL OR coalesce(plugin, '') = '')))
	FROM spock.local_node l JOIN spock.node n ON n.node_id = l.node_id`
}

// Surveyed tells what a node lacks.
func (Dialect) Surveyed(raw []byte) ([]topology.Finding, error) {
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("what Spock says of the node: %w", err)
	}
	var out []topology.Finding
	add := func(wrong, blocking bool, code, remedy, format string, args ...any) {
		if wrong {
			out = append(out, topology.Finding{Code: code, Blocking: blocking, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
		}
	}
	add(a.Version < 50000 || a.Version >= 70000, true, "spock_version", "use a version of Healer that knows it",
		"Spock %s is none that was looked at: 5 and 6 are", a.Release)
	add(a.Libraries != nil && !listed(*a.Libraries, wire.Plugin), true, "output_plugin_libraries",
		fmt.Sprintf("ALTER SYSTEM SET output_plugin_libraries = 'pgoutput, test_decoding, %s'", wire.Plugin),
		"output_plugin_libraries does not name %s: no slot of it can be made or read", wire.Plugin)
	if _, _, err := read(raw); err != nil {
		add(true, true, "origin_ambiguous", "drop that replication origin, or give the node another name", "%v", err)
	}
	add(a.Behaviour == "discard" || a.Behaviour == "transdiscard", false, "exception_behaviour",
		"ALTER SYSTEM SET spock.exception_behaviour = 'sub_disable'",
		"spock.exception_behaviour is %s: a transaction that fails is taken for applied, and this node is no source for it then", a.Behaviour)
	add(a.ReadOnly == "all", true, "readonly", "ALTER SYSTEM SET spock.readonly = 'off'",
		"spock.readonly is all: nothing is applied here")
	add(a.Standbys != "", false, "synchronous_standby_names", "keep the standbys up, or let it be empty while a node is lost",
		"synchronous_standby_names is %q: %s sends a transaction only when they have it, also to a recovery", a.Standbys, wire.Plugin)
	add(len(a.Deltas) > 0, false, engine.UncarriedTables, "while a node is lost, compare those tables by hand; Healer refuses to carry a gap here",
		"Spock adds up columns of %s, which is not what a recovery does with a change", strings.Join(a.Deltas, ", "))
	add(len(a.Empty) > 0, false, "recovery_slot_empty", "drop it; Healer makes its own",
		"recovery slot %s holds no WAL that could be read", strings.Join(a.Empty, ", "))
	return out, nil
}

// listed reports whether a list of names, as a setting has it, has the name.
func listed(list, name string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(s string) bool {
		return strings.Trim(strings.TrimSpace(s), `"`) == name
	})
}
