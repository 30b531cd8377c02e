package schema_test

import (
	"encoding"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"healer/events"
	"healer/topology"
)

// object is a JSON Schema.
type object = map[string]any

// source reads what comments say of types and their fields, by "package.Type" and
// "package.Type.Field".
type source map[string]string

func readSource(t *testing.T) source {
	t.Helper()
	s := source{}
	for _, pkg := range []string{"events", "topology", "executor"} {
		files, err := filepath.Glob("../../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("package %s: %v", pkg, err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.read(pkg, f)
		}
	}
	return s
}

func (s source) read(pkg string, f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			s[pkg+"."+ts.Name.Name] = flat(g.Doc.Text())
			if st, ok := ts.Type.(*ast.StructType); ok {
				for _, field := range st.Fields.List {
					for _, n := range field.Names {
						s[pkg+"."+ts.Name.Name+"."+n.Name] = flat(field.Doc.Text())
					}
				}
			}
		}
	}
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// name is that of a type as source has it.
func name(t reflect.Type) string { return filepath.Base(t.PkgPath()) + "." + t.Name() }

// property is a field as JSON has it.
type property struct {
	name, doc string
	typ       reflect.Type
	optional  bool
	quoted    bool
}

// properties are those of a struct in its order. What its comments call by the
// names of Go, they are made to call by those of JSON.
func (s source) properties(t reflect.Type) []property {
	var all []property
	names := map[string]string{}
	for _, f := range reflect.VisibleFields(t) {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		names[f.Name] = "`" + tag + "`"
		all = append(all, property{
			name: tag, typ: f.Type, doc: s[name(t)+"."+f.Name],
			optional: strings.Contains(opts, "omit"), quoted: strings.Contains(opts, "string"),
		})
	}
	word := regexp.MustCompile(`\b[A-Z][A-Za-z]*\b`)
	for i := range all {
		all[i].doc = word.ReplaceAllStringFunc(all[i].doc, func(w string) string {
			if as, ok := names[w]; ok {
				return as
			}
			return w
		})
	}
	return all
}

// schema is the schema of a type.
func (s source) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[topology.LSN]():
		return object{"type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"}
	case t == reflect.TypeFor[json.RawMessage]():
		return object{}
	case t == reflect.TypeFor[events.Severity]():
		return object{"enum": []any{"info", "warning", "critical"}}
	case filepath.Base(t.PkgPath()) == "planner" && t.Kind() == reflect.Struct:
		// Plans are in the journal whole, for Healer itself to read.
		return object{"type": "object"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()), t.Implements(reflect.TypeFor[json.Marshaler]()):
		panic(t.String() + " writes itself in a way that is not known here")
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Pointer:
		return s.schema(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": s.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.schema(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	default:
		panic(t.String() + " has no schema")
	}
}

func (s source) structure(t reflect.Type) object {
	props, required := object{}, []any{}
	for _, p := range s.properties(t) {
		of := s.schema(p.typ)
		if p.quoted {
			of = object{"type": "string", "pattern": "^[0-9]+$"}
		}
		if p.doc != "" {
			of["description"] = p.doc
		}
		if k := p.typ.Kind(); !p.optional {
			required = append(required, p.name)
			if k == reflect.Slice || k == reflect.Map || k == reflect.Pointer {
				of["type"] = []any{of["type"], "null"} // none of them
			}
		}
		props[p.name] = of
	}
	out := object{"type": "object", "properties": props, "required": required}
	if doc := s[name(t)]; doc != "" {
		out["description"] = doc
	}
	return out
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
