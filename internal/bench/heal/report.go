package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"healer/internal/bench/plot"
)

// spread is how something was distributed over the runs, in milliseconds.
type spread struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// result is what the bench came to; its JSON is what is written.
type result struct {
	Runs int     `json:"runs"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
	// Converged says whether the survivors were equal after every run;
	// ConvergedRuns after how many.
	Converged     bool              `json:"converged"`
	ConvergedRuns int               `json:"converged_runs"`
	Phases        map[string]spread `json:"phases"`
	Rows          int               `json:"rows"`
	Nodes         int               `json:"nodes"`
	Durable       bool              `json:"durable"`
	// Totals are all runs that converged, in their order, in milliseconds.
	Totals []float64 `json:"totals_ms"`
}

func summarize(rounds []round, o options) result {
	r := result{Runs: len(rounds), Rows: o.rows, Nodes: o.nodes, Durable: o.durable, Phases: map[string]spread{}, Totals: []float64{}}
	phases := map[string][]float64{}
	for _, x := range rounds {
		if !x.converged {
			continue
		}
		r.ConvergedRuns++
		r.Totals = append(r.Totals, milliseconds(x.total))
		for _, n := range phaseNames() {
			phases[n] = append(phases[n], milliseconds(x.phases[n]))
		}
	}
	r.Converged = r.ConvergedRuns == r.Runs
	r.P50, r.P99, r.Max = percentile(r.Totals, 50), percentile(r.Totals, 99), percentile(r.Totals, 100)
	for n, all := range phases {
		r.Phases[n] = spread{P50: percentile(all, 50), P99: percentile(all, 99)}
	}
	return r
}

// percentile is the smallest value that p percent of all do not exceed (the
// nearest rank); 0 of none.
func percentile(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// milliseconds has one digit behind the point.
func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*10) / 10
}

// rows are the table's: the whole, then phase by phase.
func (r result) rows() [][3]string {
	text := func(ms float64) string { return fmt.Sprintf("%.0f", ms) }
	rows := [][3]string{{"kill to recovery.verified", text(r.P50), text(r.P99)}}
	for _, n := range phaseNames() {
		s := r.Phases[n]
		rows = append(rows, [3]string{n, text(s.P50), text(s.P99)})
	}
	return rows
}

func (r result) table(out io.Writer) error {
	fmt.Fprintf(out, "\n%d of %d runs converged; %d nodes, a gap of %d rows\n\n", r.ConvergedRuns, r.Runs, r.Nodes, r.Rows)
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "phase\tp50 ms\tp99 ms\t")
	for _, row := range r.rows() {
		fmt.Fprintf(tw, "%s\t%s\t%s\t\n", row[0], row[1], row[2])
	}
	return tw.Flush()
}

// failed is an error when a run did not converge.
func (r result) failed() error {
	if r.Converged {
		return nil
	}
	return fmt.Errorf("%d of %d runs did not converge", r.Runs-r.ConvergedRuns, r.Runs)
}

// write writes the files that were asked for.
func (r result) write(o options) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	err = errors.Join(writeFile(o.out, append(b, '\n')), writeFile(o.svg, r.svg()))
	if o.docs != "" {
		err = errors.Join(err, r.rewrite(o.docs))
	}
	return err
}

func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// svg has a bar for each phase, and how the whole was distributed.
func (r result) svg() []byte {
	bar := plot.Bar{Name: "median, with the 99th percentile"}
	for _, n := range phaseNames() {
		bar.Values = append(bar.Values, r.Phases[n].P50)
		bar.High = append(bar.High, r.Phases[n].P99)
	}
	return plot.Sheet(1,
		plot.Bars{
			Title: fmt.Sprintf("Phases of a healing, %d runs", r.Runs), Y: plot.Axis{Label: "ms"},
			Groups: phaseNames(), Bars: []plot.Bar{bar},
		},
		plot.Histogram{Title: "From the kill to recovery.verified", X: plot.Axis{Label: "ms"}, Y: plot.Axis{Label: "runs"}, Values: r.Totals},
	)
}

// The table stands between these lines of the document.
const (
	docsBegin = "<!-- heal: written by make bench-heal ARGS=-docs -->"
	docsEnd   = "<!-- heal: end -->"
)

// rewrite puts the figures into the document.
func (r result) rewrite(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(docsBegin))
	_, after, ends := bytes.Cut(rest, []byte(docsEnd))
	if !begins || !ends {
		return fmt.Errorf("%s has no table between %s and %s", path, docsBegin, docsEnd)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n%s\n%s%s", before, docsBegin, r.markdown(), docsEnd, after)
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

func (r result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d runs, of which %d converged; %d nodes, a gap of %d rows:\n\n| | p50 ms | p99 ms |\n|---|---:|---:|\n",
		r.Runs, r.ConvergedRuns, r.Nodes, r.Rows)
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	return b.String()
}
