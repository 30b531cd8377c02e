// Package htmldoc writes HTML documents that need nothing from elsewhere: one style for
// all of them, and text that is always escaped. It knows nothing of what they tell.
package htmldoc

import (
	_ "embed"
	"io"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

//go:embed style.css
var style string

// Write writes a whole document.
func Write(w io.Writer, title string, body ...g.Node) error {
	return h.Doctype(h.HTML(
		h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.TitleEl(g.Text(title)),
			h.StyleEl(g.Raw(style)),
		),
		h.Body(body...),
	)).Render(w)
}

// Number marks the heading of a column of numbers.
func Number(heading string) g.Node { return h.Th(h.Class("n"), g.Text(heading)) }

// Headings are those of columns of words.
func Headings(texts ...string) g.Node {
	return g.Map(texts, func(t string) g.Node { return h.Th(h.Scope("col"), g.Text(t)) })
}

// Table is a table that scrolls on its own where the window is narrow.
func Table(head g.Node, rows ...g.Node) g.Node {
	return h.Div(h.Class("wide"), h.Table(h.THead(h.Tr(head)), h.TBody(rows...)))
}

// Cell is a cell of words, Code one of names and keys, Figure one of numbers.
func Cell(text string) g.Node { return h.Td(g.Text(text)) }

// Code is described at Cell.
func Code(text string) g.Node { return h.Td(h.Code(g.Text(text))) }

// Figure is described at Cell.
func Figure(text string) g.Node { return h.Td(h.Class("n"), g.Text(text)) }

// Toned is a cell of words in a class of the style: good, bad, warn or dim.
func Toned(class, text string) g.Node { return h.Td(h.Class(class), g.Text(text)) }

// Dim is a paragraph that does not ask for attention, Loud one that does.
func Dim(children ...g.Node) g.Node { return h.P(append(children, h.Class("dim"))...) }

// Loud is described at Dim.
func Loud(children ...g.Node) g.Node { return h.P(append(children, h.Class("loud"))...) }
