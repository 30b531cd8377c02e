package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"

	"healer/internal/bench/plot"
)

// publish writes the results: the file, the tables, and where asked for the plot and
// the document.
func publish(o options, b book) error {
	if err := b.write(o.out); err != nil {
		return err
	}
	fmt.Fprint(o.log, "\n", verdictTable(b), "\n", idleTable(b))
	if o.plot != "" {
		if err := os.WriteFile(o.plot, draw(b), 0o644); err != nil { //nolint:gosec // a picture for everybody
			return err
		}
	}
	if o.docs == "" {
		return nil
	}
	doc, err := os.ReadFile(o.docs)
	if err != nil {
		return err
	}
	for name, table := range map[string]string{"verdicts": verdictTable(b), "idle": idleTable(b)} {
		if doc, err = between(doc, name, table); err != nil {
			return fmt.Errorf("%s: %w", o.docs, err)
		}
	}
	return os.WriteFile(o.docs, doc, 0o644) //nolint:gosec // a document for everybody
}

// between replaces what stands between the marks of a table; an empty table leaves
// it as it is.
func between(doc []byte, name, table string) ([]byte, error) {
	if table == "" {
		return doc, nil
	}
	open, shut := "<!-- bench-detect "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := bytes.Cut(doc, []byte(open))
	_, after, ended := bytes.Cut(rest, []byte(shut))
	if !ok || !ended {
		return nil, fmt.Errorf("there is no %q followed by %q", strings.TrimSpace(open), shut)
	}
	return bytes.Join([][]byte{before, []byte(open + table + shut), after}, nil), nil
}

func verdictTable(b book) string {
	if len(b.Cases) == 0 {
		return ""
	}
	var s strings.Builder
	s.WriteString("| case | to reach | trials | p50 | p99 | wrong | memberlist, LAN defaults | memberlist, tuned |\n")
	s.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, c := range cases() {
		if r, ok := b.find(c.name); ok {
			s.WriteString(row(c, r) + "\n")
		}
	}
	return s.String()
}

func row(c scenario, r result) string {
	return fmt.Sprintf("| %s | %s | %d | %s | %s | %d | %s | %s |", c.text, c.want, r.Trials,
		spoken(r.P50), spoken(r.P99), r.Wrong, r.Lan.told(), r.Tuned.told())
}

// told is a plain memberlist's part of a row.
func (f *figures) told() string {
	switch {
	case f == nil:
		return "sees nothing: its process lives"
	case len(f.Samples) > 0:
		return fmt.Sprintf("p50 %s, p99 %s", spoken(f.P50), spoken(f.P99))
	default:
		return fmt.Sprintf("wrong in %d of %d", f.Wrong, f.Trials)
	}
}

// spoken is a time as a person says it.
func spoken(ms float64) string {
	switch {
	case ms == 0:
		return ""
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.2f s", ms/1000)
	}
}

func idleTable(b book) string {
	if len(b.Idle) == 0 {
		return ""
	}
	var s strings.Builder
	s.WriteString("| of one agent in an idle cluster of three | agent | its sessions in all servers |\n|---|---|---|\n")
	for _, c := range b.Idle {
		fmt.Fprintf(&s, "| %s | %.2f %% of a core | %.2f %% |\n", c.What, c.Percent, c.Servers)
	}
	return s.String()
}

// draw plots the cases in which something is to be detected.
func draw(b book) []byte {
	bars := plot.Bars{
		Title: "From the fault to the last survivor's verdict: p50, line to p99", Y: plot.Axis{Label: "ms", Log: true},
		Bars: []plot.Bar{{Name: "healer"}, {Name: "memberlist, LAN defaults"}, {Name: "memberlist, tuned"}},
	}
	for _, r := range b.Cases {
		if r.P50 == 0 {
			continue
		}
		bars.Groups = append(bars.Groups, strings.ReplaceAll(r.Name, "_", " "))
		for i, f := range []*figures{&r.figures, r.Lan, r.Tuned} {
			p50, p99 := math.NaN(), math.NaN()
			if f != nil && f.P50 > 0 {
				p50, p99 = f.P50, f.P99
			}
			bars.Bars[i].Values, bars.Bars[i].High = append(bars.Bars[i].Values, p50), append(bars.Bars[i].High, p99)
		}
	}
	return plot.SVG(bars)
}
