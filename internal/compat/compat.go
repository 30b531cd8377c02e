package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// Check reads recorded JSON by decode, and again with a field in every object of which
// nobody has heard, and writes it by encode: nothing of what was recorded may be missing or
// be something else then. Tables are the names of the fields whose objects have keys of
// their own, in which nothing can be unheard of; "name/*" says it of the objects in such one.
func Check[T any](tb testing.TB, recorded []byte, decode func([]byte) (T, error), encode func(T) ([]byte, error), tables ...string) {
	tb.Helper()
	var was any
	if err := json.Unmarshal(recorded, &was); err != nil {
		tb.Fatalf("the recording: %v", err)
	}
	newer, err := json.Marshal(strange(was, "", tables))
	if err != nil {
		tb.Fatal(err)
	}
	for name, raw := range map[string][]byte{"as it was": recorded, "with fields of a newer version": newer} {
		v, err := decode(raw)
		if err != nil {
			tb.Errorf("%s it cannot be read: %v", name, err)
			continue
		}
		out, err := encode(v)
		if err != nil {
			tb.Errorf("%s it cannot be written: %v", name, err)
			continue
		}
		var is any
		if err := json.Unmarshal(out, &is); err != nil {
			tb.Errorf("%s: %v", name, err)
			continue
		}
		if lost := missing("", was, is); lost != "" {
			tb.Errorf("%s: %s", name, lost)
		}
	}
}

// strange adds a field to every object that is no table. Name is that of the field.
func strange(v any, name string, tables []string) any {
	table := slices.Contains(tables, name)
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for field, value := range v {
			of := field
			if table {
				of = name + "/*"
			}
			out[field] = strange(value, of, tables)
		}
		if !table {
			out["unheard_of"] = map[string]any{"a": []any{1, "b", nil}}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = strange(v[i], "", tables)
		}
		return out
	}
	return v
}

// missing names the first thing of was that is not there.
func missing(at string, was, is any) string {
	switch was := was.(type) {
	case map[string]any:
		now, ok := is.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s was an object and is %v", at, is)
		}
		for _, name := range slices.Sorted(maps.Keys(was)) {
			field, there := now[name]
			if !there {
				return fmt.Sprintf("%s.%s is gone: it was %v", at, name, was[name])
			}
			if lost := missing(at+"."+name, was[name], field); lost != "" {
				return lost
			}
		}
		return ""
	case []any:
		now, ok := is.([]any)
		if !ok || len(now) != len(was) {
			return fmt.Sprintf("%s had %d elements and is %v", at, len(was), is)
		}
		for i := range was {
			if lost := missing(fmt.Sprintf("%s[%d]", at, i), was[i], now[i]); lost != "" {
				return lost
			}
		}
		return ""
	}
	if !reflect.DeepEqual(was, is) {
		return fmt.Sprintf("%s was %v and is %v", at, was, is)
	}
	return ""
}
