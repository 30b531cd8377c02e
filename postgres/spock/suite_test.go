package spock_test

import (
	"testing"

	"healer/internal/localpg"
	"healer/postgres/enginetest"
	"healer/postgres/spock"
	"healer/postgres/spock/wire"
)

// TestEngine is the contract of an engine, over meshes of real servers. It runs where
// HEALER_SPOCK_BINDIR names a PostgreSQL with Spock.
func TestEngine(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, enginetest.Case{
		Mesh: localpg.Spock, New: spock.New, Plugin: wire.Plugin,
		Disable: func(name string) string { return spock.Dialect{}.Disable(name) },
		Nudge:   func(name string) string { return spock.Dialect{}.Enable(name) },
		Knows:   `SELECT EXISTS (SELECT FROM spock.node WHERE node_name = $1)`,
	})
}
