package eventstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

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

// Validate checks an event by the schemas of package schema, more strictly than
// they say: a field that they do not have is an error.
func Validate(e events.Event) error {
	raw, err := e.Encode()
	if err != nil {
		return err
	}
	if err := validate("event.json", schema.Envelope, raw); err != nil {
		return err
	}
	of := func() ([]byte, error) { return schema.Data(e.Kind()) }
	if err := validate(string(e.Kind()), of, e.Data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// compiled keeps the schemas that were used, by name.
var compiled = struct { //nolint:gochecknoglobals // a cache, for tests only
	sync.Mutex
	schemas map[string]*jsonschema.Schema
}{schemas: map[string]*jsonschema.Schema{}}

func validate(name string, read func() ([]byte, error), raw []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	s, err := compile(name, read)
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func compile(name string, read func() ([]byte, error)) (*jsonschema.Schema, error) {
	compiled.Lock()
	defer compiled.Unlock()
	if s, ok := compiled.schemas[name]; ok {
		return s, nil
	}
	b, err := read()
	if err != nil {
		return nil, err
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	goschema.Seal(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	url := "https://healer.invalid/" + name
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	s, err := c.Compile(url)
	if err == nil {
		compiled.schemas[name] = s
	}
	return s, err
}
