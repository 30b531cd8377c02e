package report

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"healer/chaos/check"
	"healer/internal/bench/plot"
)

// The figures stand between these lines of the document.
const (
	docsBegin = "<!-- chaos: written by make chaos-docs -->"
	docsEnd   = "<!-- chaos: end -->"
)

// Rewrite puts the tables of the results into the document, between its two marks.
func Rewrite(document string, all []Result) error {
	return between(document, docsBegin, docsEnd, Markdown(all))
}

// between replaces what stands between two lines of a file.
func between(path, begin, end, text string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(b, []byte(begin))
	_, after, ends := bytes.Cut(rest, []byte(end))
	if !begins || !ends {
		return fmt.Errorf("%s has no place between %s and %s", path, begin, end)
	}
	return os.WriteFile(path, fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", before, begin, text, end, after), 0o600)
}

// Markdown are the tables: what was run, what it found, and how fast it healed.
func Markdown(all []Result) string {
	runs := judged(all)
	var b strings.Builder
	transactions, violations := 0, 0
	for _, r := range runs {
		transactions += r.Transactions
		violations += len(r.Violations)
	}
	fmt.Fprintf(&b, "%d runs with %d transactions of clients: **%d violations**.", len(runs), transactions, violations)
	if left := len(all) - len(runs); left > 0 {
		fmt.Fprintf(&b, " %d more runs could not be judged.", left)
	}
	b.WriteString(loads(runs) + "\n\n" + clusters(runs) + "\n" + faults(runs) + "\n" + losses(runs))
	if violations > 0 {
		b.WriteString("\n" + broken(runs))
	}
	return b.String()
}

// loads says how busy the machine was.
func loads(runs []Result) string {
	var all []float64
	for _, r := range runs {
		if r.Load > 0 {
			all = append(all, r.Load)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf(" The machine's load at their ends: %.1f (p50), %.1f (p90), %.1f (max).", percentile(all, 50), percentile(all, 90), percentile(all, 100))
}

// mixed stands for versions that differ, behind all others.
const mixed = math.MaxInt

// clusters counts the runs by size and version.
func clusters(runs []Result) string {
	type shape struct{ nodes, pg int }
	count, bad := map[shape]int{}, map[shape]int{}
	for _, r := range runs {
		s := shape{r.Nodes, r.PG}
		if len(r.Majors) > 0 {
			s.pg = mixed
		}
		count[s]++
		if len(r.Violations) > 0 {
			bad[s]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(count), func(a, b shape) int { return cmp.Or(a.nodes-b.nodes, a.pg-b.pg) })
	var b strings.Builder
	b.WriteString("| nodes | PostgreSQL | runs | with violations |\n|---:|---:|---:|---:|\n")
	for _, k := range keys {
		pg := strconv.Itoa(k.pg)
		if k.pg == mixed {
			pg = "mixed"
		}
		fmt.Fprintf(&b, "| %d | %s | %d | %d |\n", k.nodes, pg, count[k], bad[k])
	}
	return b.String()
}

// faults counts each kind.
func faults(runs []Result) string {
	made, in, bad := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range runs {
		for _, k := range r.Faults {
			made[k]++
		}
		for _, k := range slices.Compact(slices.Sorted(slices.Values(r.Faults))) {
			in[k]++
			if len(r.Violations) > 0 {
				bad[k]++
			}
		}
	}
	var b strings.Builder
	b.WriteString("| fault | made | in runs | of these with violations |\n|---|---:|---:|---:|\n")
	for _, k := range slices.Sorted(maps.Keys(made)) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", kindly(k), made[k], in[k], bad[k])
	}
	return b.String()
}

// loss sums up the losses by one kind of fault.
type loss struct {
	losses, judged, healed, refused int
	detected, verified              []float64
}

func lossesByFault(runs []Result) map[string]*loss {
	out := map[string]*loss{}
	for _, r := range runs {
		for _, h := range r.Healings {
			l := out[h.Fault]
			if l == nil {
				l = &loss{}
				out[h.Fault] = l
			}
			l.losses++
			if h.DetectedMS > 0 {
				l.judged++
				l.detected = append(l.detected, h.DetectedMS)
			}
			if h.VerifiedMS > 0 {
				l.healed++
				l.verified = append(l.verified, h.VerifiedMS)
			} else if h.Refused {
				l.refused++
			}
		}
	}
	return out
}

// losses has the times by fault.
func losses(runs []Result) string {
	by := lossesByFault(runs)
	if len(by) == 0 {
		return "No node was lost.\n"
	}
	var b strings.Builder
	b.WriteString("Times in milliseconds, from the fault:\n\n" +
		"| fault that took a node away | losses | judged failed | verified | refused | `node.failed` p50 | p99 | `recovery.verified` p50 | p90 | p99 | max |\n" +
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, k := range slices.Sorted(maps.Keys(by)) {
		l := by[k]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |", kindly(k), l.losses, l.judged, l.healed, l.refused)
		for _, f := range []struct {
			of []float64
			p  float64
		}{{l.detected, 50}, {l.detected, 99}, {l.verified, 50}, {l.verified, 90}, {l.verified, 99}, {l.verified, 100}} {
			if len(f.of) == 0 {
				b.WriteString(" |")
			} else {
				fmt.Fprintf(&b, " %.0f |", percentile(f.of, f.p))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// broken lists the runs with violations, each with the first of them: one fault of
// Healer's may show in thousands of rows.
func broken(runs []Result) string {
	var b strings.Builder
	b.WriteString("| seed | nodes | PostgreSQL | violations | the first |\n|---:|---:|---:|---|---|\n")
	for _, r := range runs {
		if len(r.Violations) > 0 {
			fmt.Fprintf(&b, "| %d | %d | %s | %s | %s |\n", r.Seed, r.Nodes, r.PostgreSQL(), counted(r.Violations), cell(r.Violations[0].Detail))
		}
	}
	return b.String()
}

// counted says how many violations each checker found, in the order of the first ones.
func counted(all []check.Violation) string {
	count := map[string]int{}
	var order []string
	for _, v := range all {
		if count[v.Checker] == 0 {
			order = append(order, v.Checker)
		}
		count[v.Checker]++
	}
	for i, c := range order {
		order[i] = fmt.Sprintf("%d %s", count[c], c)
	}
	return strings.Join(order, ", ")
}

// cell is a text as a table can have it: of one line, and not too long.
func cell(text string) string {
	const most = 240
	text = strings.NewReplacer("|", "\\|", "\n", " ").Replace(text)
	if len(text) > most {
		text = strings.ToValidUTF8(strings.TrimRight(text[:most], "\\"), "") + " ..."
	}
	return text
}

// SVG draws how long healing took, and what was judged of what was lost.
func SVG(all []Result) []byte {
	runs := judged(all)
	var verified, detected []float64
	truth, right, healed := plot.Bar{Name: "lost"}, plot.Bar{Name: "judged failed"}, plot.Bar{Name: "recovery verified"}
	var groups []string
	by := lossesByFault(runs)
	for _, k := range slices.Sorted(maps.Keys(by)) {
		l := by[k]
		groups = append(groups, kindly(k))
		truth.Values = append(truth.Values, float64(l.losses))
		right.Values = append(right.Values, float64(l.judged))
		healed.Values = append(healed.Values, float64(l.healed))
		verified = append(verified, l.verified...)
		detected = append(detected, l.detected...)
	}
	wrong := 0
	for _, r := range runs {
		for _, v := range r.Violations {
			if v.Checker == "verdicts" {
				wrong++
			}
		}
	}
	groups = append(groups, "nothing")
	truth.Values = append(truth.Values, 0)
	right.Values = append(right.Values, float64(wrong))
	healed.Values = append(healed.Values, 0)
	return plot.Sheet(1,
		plot.Histogram{Title: fmt.Sprintf("From the loss of a node to recovery.verified, %d recoveries", len(verified)), X: plot.Axis{Label: "ms", Log: true}, Y: plot.Axis{Label: "recoveries"}, Values: verified},
		plot.Histogram{Title: fmt.Sprintf("From the loss of a node to node.failed, %d verdicts", len(detected)), X: plot.Axis{Label: "ms", Log: true}, Y: plot.Axis{Label: "verdicts"}, Values: detected},
		plot.Bars{Title: "Detection against truth: what took a node away, and what was judged", Y: plot.Axis{Label: "nodes"}, Groups: groups, Bars: []plot.Bar{truth, right, healed}},
	)
}
