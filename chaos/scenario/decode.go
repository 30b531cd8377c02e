package scenario

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder fills Go values from a parsed file, and collects every problem with its line.
// It knows the kinds of values that scenarios are made of. (The YAML library's own
// decoder would make the program a quarter of a megabyte larger.)
type decoder struct{ errs []error }

func unmarshal(src []byte, into any) []error {
	f, err := parser.ParseBytes(src, 0)
	if err != nil {
		return []error{fmt.Errorf("this is no YAML: %w", err)}
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		return []error{fmt.Errorf("the file has %d documents: it must have one", len(f.Docs))}
	}
	var d decoder
	d.value(f.Docs[0].Body, reflect.ValueOf(into).Elem(), "")
	return d.errs
}

func (d *decoder) bad(n ast.Node, path, format string, args ...any) {
	line := 0
	if t := n.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	d.errs = append(d.errs, fmt.Errorf("line %d: %s: %s", line, path, fmt.Sprintf(format, args...)))
}

// value fills v from a node.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	switch {
	case v.Type() == reflect.TypeFor[Majors]():
		d.majors(n, v, path)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.bad(n, path, "%q: it must be a list", n)
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
		for i, x := range seq.Values {
			d.value(x, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		d.scalar(n, v, path)
	}
}

// majors fills v from a version, a list of them, or the word for one that is drawn.
func (d *decoder) majors(n ast.Node, v reflect.Value, path string) {
	words := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		words = list.Values
	} else if n.String() == mixed {
		v.Set(reflect.ValueOf(Majors{Mixed}))
		return
	}
	all := make(Majors, len(words))
	for i, word := range words {
		var err error
		if all[i], err = strconv.Atoi(word.String()); err != nil {
			d.bad(word, path, "%q: %s", word, useMajors)
		}
	}
	v.Set(reflect.ValueOf(all))
}

// pairs are the keys and values of a mapping; false for what is none.
func pairs(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	all, ok := pairs(n)
	if !ok {
		d.bad(n, path, "%q: it must have fields: use one of %s", n, strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	for _, kv := range all {
		name := kv.Key.String()
		at := strings.TrimPrefix(path+"."+name, ".")
		if field, known := fieldOf(v, name); known { // the parser refuses one that is given twice
			d.value(kv.Value, field, at)
		} else {
			d.bad(kv.Key, at, "unknown field %q: use one of %s", name, strings.Join(fieldNames(v.Type()), ", "))
		}
	}
}

// tag is what a struct's field is called in a file, and whether its own fields stand in
// its place.
func tag(f reflect.StructField) (name string, inline, omitEmpty bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name, options == "inline", options == "omitempty"
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		is, inline, _ := tag(v.Type().Field(i))
		if inline {
			if f, ok := fieldOf(v.Field(i), name); ok {
				return f, true
			}
		} else if is == name && is != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func fieldNames(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		is, inline, _ := tag(t.Field(i))
		if inline {
			all = append(all, fieldNames(t.Field(i).Type)...)
		} else if is != "" {
			all = append(all, is)
		}
	}
	slices.Sort(all)
	return all
}

// scalar fills v from a word.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	word, ok := n.(ast.ScalarNode)
	if !ok {
		d.bad(n, path, "%q: it must be one word", n)
		return
	}
	text := fmt.Sprint(word.GetValue())
	var err error
	want := ""
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		want = "a length such as 500ms or 2m"
		var length time.Duration
		length, err = time.ParseDuration(text)
		v.SetInt(int64(length))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		want = "true or false"
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case v.CanInt():
		want = "a whole number"
		var i int64
		i, err = strconv.ParseInt(text, 10, 64)
		v.SetInt(i)
	case v.CanUint():
		want = "a whole number from 0 on"
		var u uint64
		u, err = strconv.ParseUint(text, 10, 64)
		v.SetUint(u)
	}
	if err != nil {
		d.bad(n, path, "%q: use %s", text, want)
	}
}

// marshal writes a value as unmarshal reads it: lists of structs line by line, and what
// is empty left out where its tag says so.
func marshal(b *strings.Builder, v reflect.Value, indent string) {
	t := v.Type()
	for i := range t.NumField() {
		name, inline, omit := tag(t.Field(i))
		f := v.Field(i)
		switch {
		case inline:
			marshal(b, f, indent)
		case name == "" || omit && f.IsZero():
		case f.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			marshal(b, f, indent+"  ")
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			for j := range f.Len() {
				var item strings.Builder
				marshal(&item, f.Index(j), indent+"    ")
				b.WriteString(indent + "  - " + strings.TrimPrefix(item.String(), indent+"    "))
			}
		case f.Type() == reflect.TypeFor[Majors]() && f.Len() == 1:
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, scalarText(f.Index(0)))
		case f.Kind() == reflect.Slice:
			words := make([]string, f.Len())
			for j := range words {
				words[j] = scalarText(f.Index(j))
			}
			fmt.Fprintf(b, "%s%s: [%s]\n", indent, name, strings.Join(words, ", "))
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, scalarText(f))
		}
	}
}

// scalarText is a word; text is always quoted, as JSON would: YAML reads the same.
func scalarText(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}
