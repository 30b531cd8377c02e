package schema_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"healer/events/schema"
)

// TestCheck compares the small checker with a whole JSON Schema library, on every kind
// of event as it should be, and with each field of its data missing or of another type.
func TestCheck(t *testing.T) {
	for _, c := range catalog() {
		e := c.example(t)
		if err := schema.Check(e); err != nil {
			t.Errorf("%s: %v", e.Kind(), err)
		}
		b, err := schema.Data(e.Kind())
		if err != nil {
			t.Fatal(err)
		}
		whole := compile(t, b)
		var data map[string]any
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(data)) {
			for _, wrong := range []any{nil, "", "0/0x", -1, 1.5, true, []any{1}, map[string]any{"x": 1}, "drop"} {
				doctored := maps.Clone(data)
				if doctored[name] = wrong; wrong == "drop" {
					delete(doctored, name)
				}
				raw, err := json.Marshal(doctored)
				if err != nil {
					t.Fatal(err)
				}
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
				if err != nil {
					t.Fatal(err)
				}
				e.Data = raw
				want, got := whole.Validate(doc), schema.Check(e)
				if (want == nil) != (got == nil) {
					t.Errorf("%s with %s = %v: the library says %v, Check says %v", e.Kind(), name, wrong, want, got)
				}
			}
		}
	}
}

func compile(t *testing.T, b []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("https://healer.invalid/x", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("https://healer.invalid/x")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
