package eventstest

import (
	"testing"

	"healer/events"
	"healer/events/schema"
	"healer/internal/goschema"
)

// Check fails a test whose event is not as its schemas say.
func Check(tb testing.TB, e events.Event) {
	tb.Helper()
	if err := Validate(e); err != nil {
		tb.Errorf("event %s: %v\n%s", e.Kind(), err, e.Data)
	}
}

var strict = schema.NewValidator(goschema.Seal) //nolint:gochecknoglobals // a cache, for tests only

// Validate checks an event by the schemas of package schema, more strictly than
// they say: a field that they do not have is an error.
func Validate(e events.Event) error { return strict.Validate(e) }
