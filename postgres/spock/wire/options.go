package wire

import (
	"slices"
	"strconv"
	"strings"
)

// Plugin is the output plugin's name.
const Plugin = "spock_output"

// forwarded asks for the transactions of all origins, REPLICATION_ORIGIN_ALL in
// include/spock.h; without it only the node's own are sent (pg_decode_origin_filter
// in src/spock_output_plugin.c).
const forwarded = "all"

// Options are the options of START_REPLICATION by which a node's log is read whole:
// all origins, values as text, the newest protocol both sides know. version is
// spock_version_num() of the server: one that speaks both refuses protocol 4 to a
// client that claims to be older than 5.0.0. sets are replication sets of the node;
// one that it does not have ends the stream with an error
// (process_parameters_v1 in src/spock_output_config.c).
func Options(version int, sets []string) []string {
	var out []string
	for option := range slices.Chunk(options(version, newest, sets), 2) {
		out = append(out, `"`+option[0]+`" '`+literal(option[1])+"'")
	}
	return out
}

// OldOptions are the same for the oldest protocol, in which a message begins with its
// kind, as the functions take them that decode in SQL: names and values in turn.
func OldOptions(version int, sets []string) []string { return options(version, oldest, sets) }

func options(version, protocol int, sets []string) []string {
	return []string{
		"startup_params_format", "1",
		"min_proto_version", strconv.Itoa(oldest),
		"max_proto_version", strconv.Itoa(protocol),
		"spock_version_num", strconv.Itoa(version),
		"proto_format", "native",
		"binary.want_internal_basetypes", "0",
		"binary.want_binary_basetypes", "0",
		"spock.forward_origins", forwarded,
		"spock.replication_set_names", identifiers(sets),
	}
}

// identifiers renders names as SplitIdentifierString reads them.
func identifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ",")
}

// literal escapes a value of the replication grammar, which has no escape strings.
func literal(s string) string { return strings.ReplaceAll(s, "'", "''") }
