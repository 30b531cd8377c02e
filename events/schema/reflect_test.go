package schema_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"healer/internal/goschema"
)

// object is a JSON Schema.
type object = goschema.Object

func readSource(t *testing.T) goschema.Source {
	t.Helper()
	s, err := goschema.Read("../..", "events", "topology", "executor")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writer writes the schemas of events.
func writer(t *testing.T) goschema.Writer {
	t.Helper()
	return goschema.Writer{Source: readSource(t), Nulls: true, Known: func(t reflect.Type) object {
		if filepath.Base(t.PkgPath()) == "planner" && t.Kind() == reflect.Struct {
			// Plans are in the journal whole, for Healer itself to read.
			return object{"type": "object"}
		}
		return nil
	}}
}

// file is a schema as it is kept.
func file(t *testing.T, title string, of object) string {
	t.Helper()
	of["$schema"], of["title"] = "http://json-schema.org/draft-07/schema#", title
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(of); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// same compares a kept file with what it should be, or writes it.
func same(t *testing.T, path, want string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the Go types say: go test ./events/schema -args -rewrite", path)
	}
}
