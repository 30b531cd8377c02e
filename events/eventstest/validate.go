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

// validator checks events by their schemas. It may be used from several goroutines.
type validator struct {
	seal func(doc any)

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

func newValidator(seal func(doc any)) *validator {
	return &validator{seal: seal, compiled: map[string]*jsonschema.Schema{}}
}

// event checks the envelope and the data.
func (v *validator) event(e events.Event) error {
	raw, err := e.Encode()
	if err != nil {
		return err
	}
	if err := v.validate("envelope", schema.Envelope, raw); err != nil {
		return err
	}
	of := func() ([]byte, error) { return schema.Data(e.Kind()) }
	if err := v.validate(string(e.Kind()), of, e.Data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func (v *validator) validate(name string, read func() ([]byte, error), raw []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	s, err := v.compile(name, read)
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func (v *validator) compile(name string, read func() ([]byte, error)) (*jsonschema.Schema, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s, ok := v.compiled[name]; ok {
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
	if v.seal != nil {
		v.seal(doc)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	url := "https://healer.invalid/" + name
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	s, err := c.Compile(url)
	if err == nil {
		v.compiled[name] = s
	}
	return s, err
}

// Check fails a test whose event is not as its schemas say.
func Check(tb testing.TB, e events.Event) {
	tb.Helper()
	if err := Validate(e); err != nil {
		tb.Errorf("event %s: %v\n%s", e.Kind(), err, e.Data)
	}
}

var strict = newValidator(goschema.Seal) //nolint:gochecknoglobals // a cache, for tests only

// Validate checks an event by the schemas of package schema, more strictly than
// they say: a field that they do not have is an error.
func Validate(e events.Event) error { return strict.event(e) }
