package pglogical

import (
	"testing"

	"healer/internal/localpg"
	"healer/postgres/enginetest"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, enginetest.Case{
		Mesh: localpg.Pglogical, New: New, Plugin: "pgoutput",
		Disable: func(name string) string { return Dialect{}.Disable(name) },
		Nudge:   func(name string) string { return Dialect{}.Enable(name) },
		Knows:   `SELECT EXISTS (SELECT FROM pglogical.node WHERE node_name = $1)`,
	})
}
