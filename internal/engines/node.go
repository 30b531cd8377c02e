package engines

import (
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/postgres/pglogical"
	"healer/postgres/spock"
	"healer/postgres/spock/wire"
)

// Plugins are the output plugins of the slots on a node, the mesh's and Healer's. The name
// is as topology.NodeState has it: empty for PostgreSQL's own replication.
func Plugins(name string) []string {
	const own = "pgoutput"
	switch name {
	case pglogical.Name:
		return []string{own, "pglogical_output"} // Healer's slots, and the mesh's
	case spock.Name:
		return []string{wire.Plugin}
	}
	return []string{own}
}

// Dialect is that of a node, by the name that topology.NodeState has.
func Dialect(name string) engine.Dialect {
	switch name {
	case pglogical.Name:
		return pglogical.Dialect{}
	case spock.Name:
		return spock.Dialect{}
	}
	return native.Dialect{}
}
