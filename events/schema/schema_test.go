package schema_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"healer/events"
	"healer/events/eventstest"
	"healer/events/schema"
)

var rewrite = flag.Bool("rewrite", false, "make the schemas and the documentation anew")

// TestKept: the files are what the Go types say, and there are no others.
func TestKept(t *testing.T) {
	src := writer(t)
	e := src.Schema(reflect.TypeFor[events.Event]())
	props, ok := e["properties"].(object)
	if !ok {
		t.Fatal("the envelope has no properties")
	}
	props["specversion"] = object{"const": "1.0"}
	props["datacontenttype"] = object{"const": "application/json"}
	want := []string{"event.json"}
	same(t, "event.json", file(t, "An event of Healer, a CloudEvent 1.0 in structured JSON", e))
	for _, c := range catalog() {
		name := string(c.kind) + ".json"
		same(t, name, file(t, "The data of "+string(c.kind), src.Schema(reflect.TypeOf(c.data))))
		want = append(want, name)
	}
	got, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are the files %v: want %v", got, want)
	}
}

// TestCatalog: every kind is written down once.
func TestCatalog(t *testing.T) {
	var got []events.Kind
	for _, c := range catalog() {
		got = append(got, c.kind)
		if c.when == "" || c.same == "" {
			t.Errorf("%s is not described", c.kind)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, events.Kinds()) {
		t.Errorf("the catalog has %v: want %v", got, events.Kinds())
	}
}

// TestExamples: what the documentation shows is valid, by the schemas as they are
// embedded.
func TestExamples(t *testing.T) {
	if *rewrite {
		t.Skip("what is embedded is older than what was made: run it again")
	}
	for _, c := range catalog() {
		eventstest.Check(t, c.example(t))
	}
}

// TestSchemas: every kind has a schema, and what is no kind has none.
func TestSchemas(t *testing.T) {
	for _, k := range events.Kinds() {
		if b, err := schema.Data(k); err != nil || !strings.Contains(string(b), string(k)) {
			t.Errorf("%s: %v", k, err)
		}
	}
	if _, err := schema.Data("node.dissolved"); err == nil {
		t.Error("node.dissolved has a schema")
	}
	if b, err := schema.Envelope(); err != nil || !strings.Contains(string(b), "specversion") {
		t.Errorf("envelope: %v", err)
	}
}

// section is what stands between two marks of a document, kept as said.
func section(t *testing.T, path, mark, text string) {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+mark+" -->\n", "<!-- end of "+mark+" -->"
	head, rest, found := strings.Cut(string(doc), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no marks of %s", path, mark)
	}
	same(t, path, head+begin+text+end+tail)
}
