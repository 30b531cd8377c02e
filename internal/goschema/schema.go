package goschema

import (
	"encoding"
	"encoding/json"
	"reflect"
	"time"

	"healer/events"
	"healer/topology"
)

// Object is a JSON Schema.
type Object = map[string]any

// Writer writes schemas.
type Writer struct {
	Source Source
	// Known says what a type is, before it is looked at; nil knows none. A reference
	// to a schema elsewhere is an answer.
	Known func(reflect.Type) Object
	// Nulls: what is required may be null where Go has nil.
	Nulls bool
}

// Schema is the schema of a type. It panics at one that writes itself in a way that is
// not known.
func (w Writer) Schema(t reflect.Type) Object {
	if w.Known != nil {
		if of := w.Known(t); of != nil {
			return of
		}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return Object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[topology.LSN]():
		return Object{"type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"}
	case t == reflect.TypeFor[json.RawMessage]():
		return Object{}
	case t == reflect.TypeFor[events.Severity]():
		return Object{"enum": []any{"info", "warning", "critical"}}
	case t.Kind() != reflect.Pointer && (t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || t.Implements(reflect.TypeFor[json.Marshaler]())):
		panic(t.String() + " writes itself in a way that is not known here")
	}
	switch t.Kind() {
	case reflect.String:
		return Object{"type": "string"}
	case reflect.Bool:
		return Object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return Object{"type": "integer"}
	case reflect.Uint32, reflect.Uint64:
		return Object{"type": "integer", "minimum": 0}
	case reflect.Pointer:
		return w.Schema(t.Elem())
	case reflect.Slice:
		return Object{"type": "array", "items": w.Schema(t.Elem())}
	case reflect.Map:
		return Object{"type": "object", "additionalProperties": w.Schema(t.Elem())}
	case reflect.Struct:
		return w.Struct(t)
	default:
		panic(t.String() + " has no schema")
	}
}

// Struct is the schema of a struct, even if it is known.
func (w Writer) Struct(t reflect.Type) Object {
	props, required := Object{}, []any{}
	for _, p := range w.Source.Properties(t) {
		of := w.Schema(p.Type)
		if p.Quoted {
			of = Object{"type": "string", "pattern": "^[0-9]+$"}
		}
		if p.Doc != "" {
			of["description"] = p.Doc
		}
		if k := p.Type.Kind(); !p.Optional {
			required = append(required, p.Name)
			if w.Nulls && (k == reflect.Slice || k == reflect.Map || k == reflect.Pointer) {
				of["type"] = []any{of["type"], "null"} // none of them
			}
		}
		props[p.Name] = of
	}
	out := Object{"type": "object", "properties": props, "required": required}
	if doc := w.Source.Of(t); doc != "" {
		out["description"] = doc
	}
	return out
}
