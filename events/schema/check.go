package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"healer/events"
)

// Check is an error when the envelope or the data of an event is not as its schema
// says. It knows the words that the schemas here are made of, and no others: a whole
// JSON Schema library would make the program larger by more than all else that needs
// one. The tests check that it finds what such a library finds.
func Check(e events.Event) error {
	raw, err := e.Encode()
	if err != nil {
		return err
	}
	if err := check(Envelope, raw); err != nil {
		return err
	}
	if err := check(func() ([]byte, error) { return Data(e.Kind()) }, e.Data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func check(read func() ([]byte, error), raw []byte) error {
	b, err := read()
	if err != nil {
		return err
	}
	var r rule
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	return errors.Join(r.check("", doc)...)
}

// rule is a schema, or a part of one.
type rule struct {
	Type       types           `json:"type"`
	Required   []string        `json:"required"`
	Properties map[string]rule `json:"properties"`
	Items      *rule           `json:"items"`
	Others     *rule           `json:"additionalProperties"`
	Enum       []any           `json:"enum"`
	Const      any             `json:"const"`
	Minimum    *float64        `json:"minimum"`
	Pattern    string          `json:"pattern"`
	Format     string          `json:"format"`
}

// types are the types that a value may have: one, or several.
type types []string

// UnmarshalJSON takes both forms.
func (t *types) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = types{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func (t types) has(name string) bool {
	return len(t) == 0 || slices.Contains(t, name) || name == "integer" && slices.Contains(t, "number")
}

// check is every breach of the rule by a value; at is its place.
func (r rule) check(at string, v any) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(at+": "+format, args...)) }
	if r.Const != nil && r.Const != v {
		bad("%v is not %v", v, r.Const)
	}
	if r.Enum != nil && !slices.Contains(r.Enum, v) {
		bad("%v is none of %v", v, r.Enum)
	}
	if !r.Type.has(typeOf(v)) {
		bad("%s where %v should be", typeOf(v), r.Type)
		return errs
	}
	switch v := v.(type) {
	case map[string]any:
		errs = append(errs, r.object(at, v)...)
	case []any:
		for i, x := range v {
			if r.Items != nil {
				errs = append(errs, r.Items.check(fmt.Sprintf("%s/%d", at, i), x)...)
			}
		}
	case float64:
		if r.Minimum != nil && v < *r.Minimum {
			bad("%v is less than %v", v, *r.Minimum)
		}
	case string:
		if r.Pattern != "" && !regexp.MustCompile(r.Pattern).MatchString(v) {
			bad("%q does not match %s", v, r.Pattern)
		}
		if _, err := time.Parse(time.RFC3339Nano, v); r.Format == "date-time" && err != nil {
			bad("%q is no time", v)
		}
	}
	return errs
}

func (r rule) object(at string, v map[string]any) []error {
	var errs []error
	for _, name := range r.Required {
		if _, there := v[name]; !there {
			errs = append(errs, fmt.Errorf("%s: %s is missing", at, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		of, known := r.Properties[name]
		switch {
		case known:
			errs = append(errs, of.check(at+"/"+name, v[name])...)
		case r.Others != nil:
			errs = append(errs, r.Others.check(at+"/"+name, v[name])...)
		}
	}
	return errs
}

// typeOf is JSON Schema's name of a value's type.
func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	default:
		return "object"
	}
}
