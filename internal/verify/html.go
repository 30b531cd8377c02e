package verify

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html
var page string

// html writes a page that needs nothing from elsewhere.
func (d document) html(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"join": strings.Join, "number": number,
		"lower": strings.ToLower,
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, d)
}
