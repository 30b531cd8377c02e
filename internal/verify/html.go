package verify

import (
	"io"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"healer/compare"
	"healer/internal/htmldoc"
)

// html writes a page that needs nothing from elsewhere.
func (d document) html(w io.Writer) error {
	class := map[compare.Result]string{compare.Equal: "good", compare.Differ: "bad"}[d.Result]
	if class == "" {
		class = "warn"
	}
	said := "Cluster " + d.Cluster + ", nodes " + strings.Join(d.Nodes, ", ") + ", " +
		d.Started.Format("2006-01-02 15:04:05 MST") + ". " + d.Speed() + "."
	switch {
	case d.DryRun:
		said += " Dry run: nothing was written."
	case d.Repair:
		said += " With repair."
	}
	return htmldoc.Write(w, d.Cluster+": "+d.Verdict(),
		h.H1(h.Class(class), g.Text(d.Verdict())),
		htmldoc.Dim(g.Text(said)),
		g.Map(d.Loud(), func(s string) g.Node { return htmldoc.Loud(h.Strong(g.Text(s))) }),
		g.Map(d.Notes, func(s string) g.Node { return htmldoc.Dim(g.Text(s)) }),
		g.If(len(d.Tables) > 0, g.Group{h.H2(g.Text("Tables")), d.tablesHTML()}),
		g.If(len(d.Differences) > 0, g.Group{h.H2(g.Text("Differences")), d.differencesHTML()}),
	)
}

func (d document) tablesHTML() g.Node {
	return htmldoc.Table(
		g.Group{
			htmldoc.Headings("Table", "Method", "Key"), htmldoc.Number("Rows"), htmldoc.Number("Blocks"), htmldoc.Number("Differ"),
			htmldoc.Number("Repaired"), htmldoc.Number("Unsettled"), htmldoc.Headings("Notes"),
		},
		g.Map(d.Tables, func(t compare.Table) g.Node {
			differ := "n"
			if t.Differing > 0 {
				differ = "n bad"
			}
			return h.Tr(htmldoc.Code(t.Table), htmldoc.Cell(string(t.Method)), htmldoc.Code(strings.Join(t.Key, ", ")),
				htmldoc.Figure(rowsText(t, d.Nodes)), htmldoc.Figure(number(t.Blocks)), htmldoc.Toned(differ, number(t.Differing)),
				htmldoc.Figure(number(t.Repaired)), htmldoc.Figure(number(t.Unsettled)), htmldoc.Cell(strings.Join(t.Notes, "; ")))
		}))
}

func (d document) differencesHTML() g.Node {
	return g.Group{
		htmldoc.Dim(g.Text("Letters tell contents apart: two nodes with the same letter have the same row.")),
		htmldoc.Table(
			g.Group{htmldoc.Headings("Table", "Row"), htmldoc.Headings(d.Nodes...), htmldoc.Headings("Outcome")},
			g.Map(d.Differences, func(x compare.Difference) g.Node {
				return h.Tr(htmldoc.Code(x.Table), htmldoc.Code(d.KeyText(x)),
					g.Map(d.Nodes, func(n string) g.Node { return htmldoc.Cell(d.On(x, n)) }), htmldoc.Cell(d.Outcome(x)))
			})),
	}
}
