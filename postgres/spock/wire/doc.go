// Package wire reads what Spock's output plugin, spock_output, sends of a node's
// log in its native format, and says the same in the messages of pgoutput.
//
// A Spock node's log can be read with origins only so: pgoutput leaves out the
// ORIGIN message there, because the origin ids in the log are the ids of Spock's
// nodes, which no row of pg_replication_origin has.
//
// It is written to Spock's source, of 5.0.4 to 5.0.11 and 6.0.0; a file named in a
// comment is one of github.com/pgEdge/spock. Protocol 4 is spoken by Spock 5, where
// the startup message does not say so (src/spock_output_config.c), and by 6 when it
// is asked; protocol 5 by Spock 6. They differ in this:
//
//   - in 5 the provider's write position, eight bytes, stands before each message
//     except the startup message; in 4 it stands at the end of COMMIT alone
//     (src/spock_proto_native.c);
//   - in 5 ORIGIN may have the node's name, as a flag says.
//
// The package is pure: bytes in, values out. It promises not to panic, not to
// allocate by a length that the bytes only promise, and to refuse what it does not
// know: a flag, a kind, bytes that are left over. It must never import anything but
// topology.
package wire
