package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"healer/compare"
)

// document is a report with what a reader wants beside it.
type document struct {
	compare.Report
	// DryRun is set when what a repair would write was asked for.
	DryRun bool `json:"dry_run"`
	// Error is why the comparison broke off.
	Error string `json:"error,omitempty"`
}

// form is how a document is written.
type form string

const (
	asTable form = "table"
	asJSON  form = "json"
	asHTML  form = "html"
)

func (d document) write(w io.Writer, f form) error {
	switch f {
	case asJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(d)
	case asHTML:
		return d.html(w)
	}
	return d.table(w)
}

// Verdict is the result in a sentence.
func (d document) Verdict() string {
	switch d.Result {
	case compare.Equal:
		if d.Repaired > 0 {
			return "EQUAL after " + count(d.Repaired, "row was", "rows were") + " repaired"
		}
		return "EQUAL"
	case compare.Differ:
		return "DIFFERENT in " + d.atLeast() + count(d.Differing-d.Repaired, "row", "rows")
	}
	return "NOT FULLY COMPARED"
}

// atLeast qualifies the number of differences where not all were looked for.
func (d document) atLeast() string {
	for _, t := range d.Tables {
		if t.Unexplored > 0 || t.Problem != "" {
			return "at least "
		}
	}
	return ""
}

// Loud is what must not be overlooked: one line each.
func (d document) Loud() []string {
	var out []string
	if d.Error != "" {
		out = append(out, "BROKEN OFF: "+d.Error)
	}
	if d.Partial {
		var listed, more int64
		for _, t := range d.Tables {
			listed += t.Listed
			more += t.Unexplored
		}
		line := fmt.Sprintf("PARTIAL: %s of %s listed", number(listed), count(d.Differing+d.Unsettled, "difference is", "differences are"))
		if more > 0 {
			line += fmt.Sprintf("; %s not looked into: there may be more differences (--max-differences)", count(more, "differing block was", "differing blocks were"))
		}
		out = append(out, line)
	}
	if d.Unsettled > 0 {
		out = append(out, "UNSETTLED: "+count(d.Unsettled, "row was", "rows were")+" written faster than it could be compared; run it again")
	}
	for _, t := range d.Tables {
		if t.Problem != "" {
			out = append(out, "NOT COMPARED: "+t.Table+": "+t.Problem)
		}
	}
	if len(d.Tables) == 0 && d.Error == "" {
		out = append(out, "NOT COMPARED: nothing is replicated between the nodes")
	}
	return out
}

// Speed says how fast it was.
func (d document) Speed() string {
	s := count(d.Rows, "row", "rows") + " in " + strconv.FormatFloat(d.Seconds, 'f', 1, 64) + " s"
	if d.Seconds > 0.5 {
		s += ", " + number(int64(float64(d.Rows)/d.Seconds)) + " rows/s"
	}
	return s
}

// KeyText is a row's key as name=value, or the row itself.
func (d document) KeyText(x compare.Difference) string {
	if x.Key == nil {
		return x.Row
	}
	var names []string
	for _, t := range d.Tables {
		if t.Table == x.Table {
			names = t.Key
		}
	}
	parts := make([]string, len(x.Key))
	for i, v := range x.Key {
		parts[i] = v
		if i < len(names) {
			parts[i] = names[i] + "=" + v
		}
	}
	return strings.Join(parts, ", ")
}

// On is the row as one node has it.
func (d document) On(x compare.Difference, node string) string {
	letters := map[string]string{}
	for _, v := range x.Versions {
		if _, ok := letters[v.Digest]; !ok && v.Copies > 0 {
			letters[v.Digest] = string(rune('A' + len(letters)%26))
		}
		if v.Node != node {
			continue
		}
		switch {
		case v.Copies == 0:
			return "missing"
		case x.Key == nil:
			return count(v.Copies, "copy", "copies")
		}
		text := letters[v.Digest]
		if v.Author != "" {
			text += " by " + v.Author
		}
		if v.At != nil {
			text += " " + v.At.Format("2006-01-02 15:04:05.000")
		}
		return text
	}
	return "-"
}

// Outcome is what became, or would become, of a difference.
func (d document) Outcome(x compare.Difference) string {
	to := strings.Join(x.Losers, ", ")
	deed := "row of " + x.Winner + " to " + to
	if x.Winner == "" {
		deed = "delete on " + to
	}
	switch {
	case x.Problem != "":
		return "not repaired: " + x.Problem
	case x.State == "unsettled":
		return "unsettled"
	case x.State == "repaired":
		return "repaired: " + deed
	case len(x.Losers) == 0:
		return "no repair without a key"
	case d.DryRun:
		return "would write: " + deed
	}
	return x.State
}

func (d document) table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s\n", d.Cluster, strings.Join(d.Nodes, ", "), d.Speed())
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(d.Tables) > 0 {
		fmt.Fprintf(tw, "\nTABLE\tMETHOD\tROWS\tDIFFER\tREPAIRED\tUNSETTLED\t\n")
		for _, t := range d.Tables {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", clean(t.Table), t.Method, rowsText(t, d.Nodes),
				t.Differing, t.Repaired, t.Unsettled, clean(strings.Join(t.Notes, "; ")))
		}
	}
	if len(d.Differences) > 0 {
		fmt.Fprintf(tw, "\nTABLE\tROW\t%s\t\n", strings.ToUpper(strings.Join(d.Nodes, "\t")))
		for _, x := range d.Differences {
			fmt.Fprintf(tw, "%s\t%s\t", clean(x.Table), clean(d.KeyText(x)))
			for _, n := range d.Nodes {
				fmt.Fprintf(tw, "%s\t", clean(d.On(x, n)))
			}
			fmt.Fprintf(tw, "%s\n", clean(d.Outcome(x)))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	b.WriteByte('\n')
	for _, n := range d.Notes {
		b.WriteString("note: " + clean(n) + "\n")
	}
	for _, l := range d.Loud() {
		b.WriteString(clean(l) + "\n")
	}
	b.WriteString(d.Verdict() + "\n")
	_, err := io.WriteString(w, trim(b.String()))
	return err
}

// rowsText is the number of rows, of each node where they are not the same.
func rowsText(t compare.Table, nodes []string) string {
	var parts []string
	same := true
	for _, n := range nodes {
		if r, ok := t.Rows[n]; ok {
			parts = append(parts, number(r))
			same = same && parts[0] == number(r)
		}
	}
	if same && len(parts) > 0 {
		return parts[0]
	}
	return strings.Join(parts, " / ")
}

func trim(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// clean keeps what stands in the tables from driving the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// number groups the digits of n by thousands.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}
