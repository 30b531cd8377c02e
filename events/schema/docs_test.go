package schema_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"healer/events"
	"healer/internal/goschema"
	"healer/topology"
)

const document = "../../docs/events.md"

// TestDocument keeps the parts of the document that the catalog and the Go types
// say.
func TestDocument(t *testing.T) {
	section(t, document, "example", exampleSource(t))
	all := catalog()
	i := slices.IndexFunc(all, func(c entry) bool { return c.kind == events.RecoveryRefused })
	raw, err := all[i].example(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	section(t, document, "envelope", "\n```json\n"+indent(t, raw)+"\n```\n\n")
	section(t, document, "kinds", kindSections(t))
	section(t, document, "data", dataSections(readSource(t)))
}

// exampleSource is what the example of package events is about.
func exampleSource(t *testing.T) string {
	src, err := os.ReadFile("../example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(src), "// listen reports")
	body, _, found := strings.Cut(rest, "\n// A reader of events needs")
	if !found {
		t.Fatal("the example has no function listen, or something else behind its ledger")
	}
	return "\n```go\n// listen reports" + body + "```\n\n"
}

func kindSections(t *testing.T) string {
	var b strings.Builder
	for _, c := range catalog() {
		sev, _ := c.kind.Severity()
		typ := reflect.TypeOf(c.data)
		data := "[" + typ.Name() + "](#" + strings.ToLower(typ.Name()) + ")"
		if !documented(typ) {
			data = "its schema has its fields"
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", c.kind, c.when)
		fmt.Fprintf(&b, "- **Severity** %s\n- **Subject** `%s`\n", sev, events.Subject("<cluster>", c.kind))
		fmt.Fprintf(&b, "- **One event for** %s\n- **Data** %s ([schema](../events/schema/%s.json))\n\n", c.same, data, c.kind)
		fmt.Fprintf(&b, "```json\n%s\n```\n", indent(t, c.example(t).Data))
	}
	b.WriteByte('\n')
	return b.String()
}

func indent(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return compact(v, "", 100)
}

// compact writes what fits into a line into one, in the order of the names.
func compact(v any, margin string, width int) string {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var parts []string
	open, shut := "{", "}"
	switch v := v.(type) {
	case map[string]any:
		var keys []string
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			parts = append(parts, fmt.Sprintf("%q: %s", k, compact(v[k], margin+"  ", width)))
		}
	case []any:
		open, shut = "[", "]"
		for _, e := range v {
			parts = append(parts, compact(e, margin+"  ", width))
		}
	default:
		return string(line)
	}
	short := strings.Join(parts, ", ")
	if len(margin)+len(short) < width && !strings.Contains(short, "\n") {
		return open + short + shut
	}
	return open + "\n" + margin + "  " + strings.Join(parts, ",\n"+margin+"  ") + "\n" + margin + shut
}

// documented reports whether the fields of a type are a part of the document.
func documented(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() &&
		(t.PkgPath() == "healer/events" || t.PkgPath() == "healer/topology")
}

func dataSections(src goschema.Source) string {
	var b strings.Builder
	shown := map[reflect.Type]bool{}
	var show func(t reflect.Type)
	show = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if !documented(t) || shown[t] {
			return
		}
		shown[t] = true
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| field | type | |\n|---|---|---|\n", heading(t), src.Of(t))
		for _, p := range src.Properties(t) {
			may := ""
			if p.Optional {
				may = "may be absent. "
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, typeName(p.Type), strings.TrimSpace(may+p.Doc))
		}
		for _, p := range src.Properties(t) {
			show(p.Type)
		}
	}
	show(reflect.TypeFor[events.Event]())
	for _, c := range catalog() {
		show(reflect.TypeOf(c.data))
	}
	b.WriteByte('\n')
	return b.String()
}

// heading tells the slot of an event's data from the slot in it.
func heading(t reflect.Type) string {
	if t == reflect.TypeFor[topology.Slot]() {
		return "Replication slot"
	}
	return t.Name()
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t == reflect.TypeFor[topology.LSN]():
		return "LSN"
	case t == reflect.TypeFor[json.RawMessage]():
		return "object"
	case documented(t):
		return "[" + heading(t) + "](#" + strings.ReplaceAll(strings.ToLower(heading(t)), " ", "-") + ")"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "map to " + typeName(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	default:
		return "integer"
	}
}
