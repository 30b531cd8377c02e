package verify

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"healer/compare"
	"healer/topology"
)

// pattern is one word of --tables.
type pattern struct {
	text         string
	schema, name string
	// exact patterns name one table, whether it is replicated or not.
	exact bool
}

// parsePatterns reads the words between commas.
func parsePatterns(text string) ([]pattern, error) {
	words, err := split(text, ',')
	if err != nil {
		return nil, err
	}
	out := make([]pattern, len(words))
	for i, w := range words {
		if out[i], err = parsePattern(w); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parsePattern reads SCHEMA.TABLE, in which * and ? stand for others unless a part
// of it is in double quotes.
func parsePattern(text string) (pattern, error) {
	p := pattern{text: text, exact: strings.Contains(text, `"`) || !strings.ContainsAny(text, `*?[\`)}
	parts, err := split(text, '.')
	if err != nil {
		return p, err
	}
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return p, fmt.Errorf("--tables %s: name tables as SCHEMA.TABLE, such as public.%s or public.*", text, strings.Trim(text, "."))
	}
	p.schema, p.name = unquote(parts[0]), unquote(parts[1])
	for _, part := range []string{p.schema, p.name} {
		if _, err := path.Match(part, ""); err != nil && !p.exact {
			return p, fmt.Errorf("--tables %s: %w", text, err)
		}
	}
	return p, nil
}

// split divides at a separator outside of double quotes, which stay.
func split(text string, at byte) ([]string, error) {
	var parts []string
	in, from := false, 0
	for i := range len(text) {
		switch {
		case text[i] == '"':
			in = !in
		case text[i] == at && !in:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	if in {
		return nil, fmt.Errorf("--tables %s: a quote is not closed", text)
	}
	return append(parts, text[from:]), nil
}

// unquote takes an SQL identifier out of its quotes.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
}

func (p pattern) matches(n topology.TableName) bool {
	if p.exact {
		return p.schema == n.Schema && p.name == n.Name
	}
	schema, _ := path.Match(p.schema, n.Schema)
	name, _ := path.Match(p.name, n.Name)
	return schema && name
}

// pick keeps of the replicated tables those that a pattern matches. exists tells
// whether a table that is not replicated is there all the same: such a one is
// compared whole when it is named.
func pick(all []compare.Spec, patterns []pattern, exists func(topology.TableName) (bool, error)) ([]compare.Spec, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	var out []compare.Spec
	add := func(s compare.Spec) {
		if !slices.ContainsFunc(out, func(o compare.Spec) bool { return o.Name == s.Name }) {
			out = append(out, s)
		}
	}
	for _, p := range patterns {
		found := false
		for _, s := range all {
			if p.matches(s.Name) {
				add(s)
				found = true
			}
		}
		if found {
			continue
		}
		fault := &topology.Fault{
			Class: topology.Permanent, Code: "unknown_table", Err: fmt.Errorf("no table %s is replicated between the nodes", p.text),
			Hint: "without --tables all that is replicated is compared",
		}
		if !p.exact {
			return nil, fault
		}
		name := topology.TableName{Schema: p.schema, Name: p.name}
		ok, err := exists(name)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			fault.Err = fmt.Errorf("there is no table %s on the nodes", p.text)
			return nil, fault
		}
		add(compare.Spec{Name: name})
	}
	return out, nil
}
