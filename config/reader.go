package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// reader walks the parsed file and collects problems; it never stops at one.
type reader struct {
	file     string
	lines    []string
	problems []Problem
	// at remembers where each field's value stands, for the checks that
	// compare fields with one another.
	at map[string]*token.Token
	// servers has what the check made of each readable DSN, by its path.
	servers map[string]string
}

func newReader(file string, src []byte) *reader {
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	return &reader{
		file: file, lines: strings.Split(text, "\n"),
		at: map[string]*token.Token{}, servers: map[string]string{},
	}
}

// err returns what was collected, or nil.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	sortProblems(r.problems)
	return &Error{Problems: r.problems}
}

func (r *reader) add(p Problem) {
	p.File = r.file
	r.problems = append(r.problems, p)
}

// report adds a problem at a token.
func (r *reader) report(tk *token.Token, field, message, remedy string) {
	p := Problem{Field: field, Message: message, Remedy: remedy}
	if tk != nil && tk.Position != nil && tk.Position.Line >= 1 && tk.Position.Line <= len(r.lines) {
		p.Line = tk.Position.Line
		line := r.lines[p.Line-1]
		// Some tokens of the parser begin at the blank before the word, and
		// one at the end of the file may stand behind the line.
		p.Column = min(max(tk.Position.Column, 1), len([]rune(line))+1)
		// A tab would tear caret and word apart.
		p.Source = strings.ReplaceAll(hideLine(r.lines, p.Line-1), "\t", " ")
	}
	r.add(p)
}

// problem adds a problem at the value of a field.
func (r *reader) problem(field, message, remedy string) {
	r.report(r.at[field], field, message, remedy)
}

// field is one known key of a mapping.
type field struct {
	name string
	// need says what to write when the key is missing; empty when it may be.
	need string
	// read takes the value; it is not called for a key without one.
	read func(v value)
}

// value is a node of the file with the path of its field.
type value struct {
	r    *reader
	path string
	node ast.Node
}

// bad reports the value.
func (v value) bad(message, remedy string) { v.r.report(v.node.GetToken(), v.path, message, remedy) }

// mapping reads a mapping key by key: unknown, duplicate and missing keys are
// problems.
func (v value) mapping(fields []field) {
	pairs, ok := v.pairs()
	if !ok {
		return
	}
	seen, meant := map[string]int{}, map[string]bool{}
	for _, p := range pairs {
		name, tk := keyName(p.Key), p.Key.GetToken()
		path := join(v.path, hideKey(name))
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch first, again := seen[name]; {
		case i < 0:
			near, remedy := unknownRemedy(name, fields)
			meant[near] = true
			v.r.report(tk, path, fmt.Sprintf("the key %q is unknown", hideKey(name)), remedy)
		case again:
			v.r.report(tk, path, fmt.Sprintf("the key %q stands here again, first in line %d", name, first), "keep one of the two")
		default:
			seen[name] = tk.Position.Line
			v.r.at[path] = tk
			if plain, ok := v.r.plain(p.Value, path); ok {
				v.r.at[path] = plain.GetToken()
				fields[i].read(value{r: v.r, path: path, node: plain})
			} else if p.Value.Type() == ast.NullType && fields[i].need != "" {
				v.r.report(tk, path, "has no value", fields[i].need)
			}
		}
	}
	for _, f := range fields {
		// A key that was only misspelled is not missing as well.
		if _, ok := seen[f.name]; !ok && f.need != "" && !meant[f.name] {
			v.r.report(v.start(pairs), join(v.path, f.name), "is missing", f.need)
		}
	}
}

// start is the token to blame for what is not in a mapping.
func (v value) start(pairs []*ast.MappingValueNode) *token.Token {
	if len(pairs) > 0 {
		return pairs[0].Key.GetToken()
	}
	return v.node.GetToken()
}

func (v value) pairs() ([]*ast.MappingValueNode, bool) {
	switch n := v.node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	v.bad("is "+kindOf(v.node)+", not a mapping", "write `key: value` lines below it")
	return nil, false
}

// keyName is a key's text without quotes.
func keyName(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.String()
}

// list reads a sequence; each is called for every item that has a value, with
// its place in the list. It returns the number of items, and false when the
// value is no sequence.
func (v value) list(each func(i int, item value)) (items int, ok bool) {
	n, ok := v.node.(*ast.SequenceNode)
	if !ok {
		v.bad("is "+kindOf(v.node)+", not a list", "write `- ` items below it")
		return 0, false
	}
	for i, node := range n.Values {
		path := fmt.Sprintf("%s[%d]", v.path, i)
		plain, ok := v.r.plain(node, path)
		if !ok {
			if node.Type() == ast.NullType {
				v.r.report(node.GetToken(), path, "has no value", "fill the item in or remove it")
			}
			continue
		}
		v.r.at[path] = value{r: v.r, node: plain}.head()
		each(i, value{r: v.r, path: path, node: plain})
	}
	return len(n.Values), true
}

// head is the first token of a node; a mapping's own token is its first colon.
func (v value) head() *token.Token {
	switch n := v.node.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return v.node.GetToken()
}

// plain refuses the features of YAML by which one place of a file depends on
// another: they make it unclear what a line means. It returns false for them
// and for a null.
func (r *reader) plain(n ast.Node, path string) (ast.Node, bool) {
	var what string
	switch n.Type() {
	case ast.NullType:
		return nil, false
	case ast.AnchorType:
		what = "an anchor (&)"
	case ast.AliasType:
		what = "an alias (*)"
	case ast.TagType:
		what = "a tag (!)"
	default:
		return n, true
	}
	r.report(n.GetToken(), path, "is "+what+", which this file does not use", "write the value out")
	return nil, false
}

// kindOf names a node's kind for an operator.
func kindOf(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	default:
		return "a single value"
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
