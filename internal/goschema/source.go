package goschema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// Source is what comments say of types and their fields, by "package.Type" and
// "package.Type.Field".
type Source map[string]string

// Read reads the comments of packages, folders below root.
func Read(root string, packages ...string) (Source, error) {
	s := Source{}
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("package %s has no files: %w", pkg, err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			s.read(filepath.Base(pkg), f)
		}
	}
	return s, nil
}

func (s Source) read(pkg string, f *ast.File) {
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

// Of is what the comment of a type says.
func (s Source) Of(t reflect.Type) string { return s[name(t)] }

// name is that of a type as Source has it.
func name(t reflect.Type) string { return filepath.Base(t.PkgPath()) + "." + t.Name() }

// Property is a field as JSON has it.
type Property struct {
	Name, Doc string
	Type      reflect.Type
	// Optional fields are left out when they are empty, Quoted ones are text.
	Optional, Quoted bool
}

// Properties are those of a struct in its order, those of what it embeds among them.
// What its comments call by the names of Go, they are made to call by those of JSON.
func (s Source) Properties(t reflect.Type) []Property {
	var all []Property
	names := map[string]string{}
	for _, f := range reflect.VisibleFields(t) {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() || (f.Anonymous && tag == "") {
			continue
		}
		owner := t
		for _, i := range f.Index[:len(f.Index)-1] {
			owner = owner.Field(i).Type
		}
		names[f.Name] = "`" + tag + "`"
		all = append(all, Property{
			Name: tag, Type: f.Type, Doc: s[name(owner)+"."+f.Name],
			Optional: strings.Contains(opts, "omit"), Quoted: strings.Contains(opts, "string"),
		})
	}
	word := regexp.MustCompile(`\b[A-Z][A-Za-z]*\b`)
	for i := range all {
		all[i].Doc = word.ReplaceAllStringFunc(all[i].Doc, func(w string) string {
			if as, ok := names[w]; ok {
				return as
			}
			return w
		})
	}
	return all
}
