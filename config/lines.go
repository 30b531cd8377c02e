package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// NodeLines returns the first and the last line, from 1, of the named node's entry
// in the text of a file, and false when it has none.
func NodeLines(src []byte, name string) (first, last int, ok bool) {
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return 0, 0, false
	}
	lines := strings.Split(strings.TrimRight(string(src), "\n"), "\n")
	for _, item := range nodeItems(file) {
		node, ok := item.(*ast.MappingNode)
		if !ok || !slices.ContainsFunc(node.Values, func(v *ast.MappingValueNode) bool {
			return v.Key.String() == "name" && v.Value.GetToken().Value == name
		}) {
			continue
		}
		first = node.Values[0].Key.GetToken().Position.Line
		return first, entryEnd(lines, first), true
	}
	return 0, 0, false
}

// nodeItems are the entries of the list `nodes`.
func nodeItems(file *ast.File) []ast.Node {
	for _, d := range file.Docs {
		root, ok := d.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, v := range root.Values {
			if list, ok := v.Value.(*ast.SequenceNode); ok && v.Key.String() == "nodes" {
				return list.Values
			}
		}
	}
	return nil
}

// entryEnd is the last line that is indented deeper than the dash of the entry
// that begins at first, without blank lines behind it.
func entryEnd(lines []string, first int) int {
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	dash, last := indent(lines[first-1]), first
	for i := first; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) == "" {
			continue
		}
		if indent(lines[i]) <= dash {
			break
		}
		last = i + 1
	}
	return last
}
