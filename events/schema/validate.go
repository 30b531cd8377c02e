package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"healer/events"
)

// Validator checks events by their schemas. It may be used from several goroutines.
type Validator struct {
	seal func(doc any)

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

// NewValidator returns a validator. seal, unless it is nil, may make each schema
// stricter than it is.
func NewValidator(seal func(doc any)) *Validator {
	return &Validator{seal: seal, compiled: map[string]*jsonschema.Schema{}}
}

// Validate checks the envelope and the data.
func (v *Validator) Validate(e events.Event) error {
	raw, err := e.Encode()
	if err != nil {
		return err
	}
	if err := v.validate(envelope, Envelope, raw); err != nil {
		return err
	}
	of := func() ([]byte, error) { return Data(e.Kind()) }
	if err := v.validate(string(e.Kind()), of, e.Data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func (v *Validator) validate(name string, read func() ([]byte, error), raw []byte) error {
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

func (v *Validator) compile(name string, read func() ([]byte, error)) (*jsonschema.Schema, error) {
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
