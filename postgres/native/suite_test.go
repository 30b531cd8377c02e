package native

import (
	"testing"

	"healer/internal/localpg"
	"healer/postgres/enginetest"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, enginetest.Case{
		Mesh: localpg.Native, New: New, Plugin: "pgoutput",
		Disable: func(name string) string { return Dialect{}.Disable(name) },
		Knows:   `SELECT EXISTS (SELECT FROM pg_subscription WHERE subname LIKE '%from_' || $1)`,
	})
}
