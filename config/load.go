package config

import (
	"errors"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// DSNCheck reads a DSN without connecting and returns the server and database it
// names in one spelling, such as 10.0.0.1:5432/app, so that one server that two
// nodes spell differently is noticed. What it returns and its error are shown to
// the operator: neither may carry the password.
type DSNCheck func(dsn string) (server string, err error)

// Load reads the file at path. The error is an *Error with everything that is
// wrong with it.
func Load(path string, check DSNCheck) (*Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &Error{Problems: []Problem{{
			File: path, Message: "cannot be read: " + err.Error(),
			Remedy: "name the cluster's file with --config",
		}}}
	}
	return Parse(path, src, check)
}

// Parse reads the text of a file; name stands for the file in the problems.
func Parse(name string, src []byte, check DSNCheck) (*Config, error) {
	r := newReader(name, src)
	root, ok := r.parse(src)
	if !ok {
		return nil, r.err()
	}
	c := Defaults()
	r.root(root, &c, check)
	if err := r.err(); err != nil {
		return nil, err
	}
	return &c, nil
}

// parse turns the text into one document. It tolerates duplicate keys, so that
// the reader can report them beside everything else.
func (r *reader) parse(src []byte) (ast.Node, bool) {
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return nil, false
	}
	var bodies []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		r.add(Problem{
			Message: "the file is empty",
			Remedy:  "begin with `cluster:` and `nodes:`; docs/operations.md has a complete example",
		})
		return nil, false
	case 1:
		return bodies[0], true
	default:
		r.report(value{r: r, node: bodies[1]}.head(), "", "a second document begins here", "keep one document in the file: remove the `---` line")
		return nil, false
	}
}

// syntax reports what the parser could not read. What the parser quotes is cut
// off: it may be a part of a DSN.
func (r *reader) syntax(err error) {
	const remedy = "mend the syntax; look at the indentation and the quotes of this line and the one before it"
	var ye yaml.Error
	if !errors.As(err, &ye) {
		r.add(Problem{Message: "is not YAML", Remedy: remedy})
		return
	}
	why, _, _ := strings.Cut(ye.GetMessage(), `"`)
	r.report(ye.GetToken(), "", "is not YAML: "+strings.TrimRight(why, ": "), remedy)
}
