package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/internal/bench/plot"
)

// Row is what was seen of one system at one size and loss, over all of its runs.
// Times are in milliseconds.
type Row struct {
	System  System  `json:"system"`
	Members int     `json:"members"`
	Loss    float64 `json:"loss"`
	// Kill and Crash are the times until survivors noticed the end of processes
	// and of a host; nil when there were none.
	Kill  *Times `json:"kill,omitempty"`
	Crash *Times `json:"crash,omitempty"`
	// Missed counts survivors that never noticed an end.
	Missed int `json:"missed"`
	// Wrong counts members that lived, were not paused, and were given up.
	Wrong int `json:"wrong"`
	// PausesTaken has, by the length of the pause, how many of the pauses were
	// taken for an end; Pauses how many there were.
	PausesTaken map[string]int `json:"pauses_taken"`
	Pauses      map[string]int `json:"pauses"`
	// Messages and Bytes are what one member sent in a second.
	Messages float64 `json:"messages_per_member_s"`
	Bytes    float64 `json:"bytes_per_member_s"`
}

// Times are those of Trials ends: until the first survivor noticed, and until each
// of the survivors did.
type Times struct {
	Trials   int     `json:"trials"`
	FirstP50 float64 `json:"first_p50_ms"`
	FirstP99 float64 `json:"first_p99_ms"`
	AllP50   float64 `json:"all_p50_ms"`
	AllP99   float64 `json:"all_p99_ms"`
}

// Summary makes the row of outcomes of like setups.
func Summary(s Setup, outs []Outcome) Row {
	var sum Outcome
	r := Row{System: s.System, Members: s.Members, Loss: s.Loss, PausesTaken: map[string]int{}, Pauses: map[string]int{}}
	for _, o := range outs {
		sum.KillFirst, sum.KillAll = append(sum.KillFirst, o.KillFirst...), append(sum.KillAll, o.KillAll...)
		sum.CrashFirst, sum.CrashAll = append(sum.CrashFirst, o.CrashFirst...), append(sum.CrashAll, o.CrashAll...)
		r.Missed, r.Wrong = r.Missed+o.Missed, r.Wrong+o.Wrong
		for d, n := range o.Pauses {
			r.Pauses[d.String()] += n
			r.PausesTaken[d.String()] += o.PausesTaken[d]
		}
		sum.Quiet += o.Quiet
		sum.Sent.Messages, sum.Sent.Bytes = sum.Sent.Messages+o.Sent.Messages, sum.Sent.Bytes+o.Sent.Bytes
	}
	r.Kill, r.Crash = timesOf(sum.KillFirst, sum.KillAll), timesOf(sum.CrashFirst, sum.CrashAll)
	if q := sum.Quiet.Seconds(); q > 0 {
		r.Messages, r.Bytes = float64(sum.Sent.Messages)/q, float64(sum.Sent.Bytes)/q
	}
	return r
}

func timesOf(first, all []time.Duration) *Times {
	if len(first) == 0 {
		return nil
	}
	return &Times{
		Trials: len(first), FirstP50: percentile(first, 50), FirstP99: percentile(first, 99),
		AllP50: percentile(all, 50), AllP99: percentile(all, 99),
	}
}

// percentile is the smallest time that so many percent do not exceed, in
// milliseconds.
func percentile(ds []time.Duration, percent int) float64 {
	sorted := slices.Sorted(slices.Values(ds))
	i := (len(sorted)*percent + 99) / 100
	return float64(sorted[max(i, 1)-1].Microseconds()) / 1000
}

// Table writes the rows in Markdown.
func Table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| system | members | loss | processes killed: p50 / p99 | host gone: p50 / p99 | trials | wrong | pauses taken for an end | messages, bytes a member a second |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		trials := 0
		for _, t := range []*Times{r.Kill, r.Crash} {
			if t != nil {
				trials += t.Trials
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f %% | %s | %s | %d | %d | %s | %.0f, %s |\n", r.System, r.Members, 100*r.Loss,
			cellOf(r.Kill, "as for the host"), cellOf(r.Crash, "-"), trials, r.Wrong, pausesOf(r), r.Messages, bytesOf(r.Bytes))
	}
	return b.String()
}

func cellOf(t *Times, none string) string {
	if t == nil {
		return none
	}
	return fmt.Sprintf("%.2f / %.2f s", t.AllP50/1000, t.AllP99/1000)
}

func pausesOf(r Row) string {
	if len(r.Pauses) == 0 {
		return "-"
	}
	taken, all := 0, 0
	var which []string
	for _, d := range slices.SortedFunc(maps.Keys(r.Pauses), byLength) {
		taken, all = taken+r.PausesTaken[d], all+r.Pauses[d]
		if r.PausesTaken[d] > 0 {
			which = append(which, d)
		}
	}
	if taken == 0 {
		return fmt.Sprintf("0 of %d", all)
	}
	return fmt.Sprintf("%d of %d (%s)", taken, all, strings.Join(which, ", "))
}

func byLength(a, b string) int {
	x, _ := time.ParseDuration(a) // they are durations as text
	y, _ := time.ParseDuration(b)
	return int(x - y)
}

func bytesOf(n float64) string {
	if n >= 10_000 {
		return fmt.Sprintf("%.0f kB", n/1000)
	}
	return fmt.Sprintf("%.1f kB", n/1000)
}

// Picture draws detection time, traffic and wrong verdicts over the members.
func Picture(rows []Row, loss float64) []byte {
	members := plot.Axis{Label: "members", Log: true, Ticks: []float64{3, 5, 9, 33, 129, 257}}
	chart := func(title, unit string, value func(Row) (float64, bool)) plot.Lines {
		c := plot.Lines{Title: title, X: members, Y: plot.Axis{Label: unit, Log: true}, Marks: true}
		for _, s := range []System{Healer, Tuned, LAN} {
			l := plot.Line{Name: string(s), Dashed: s != Healer}
			for _, r := range rows {
				if v, ok := value(r); ok && r.System == s && r.Loss == loss {
					l.Points = append(l.Points, plot.Point{X: float64(r.Members), Y: v})
				}
			}
			c.Lines = append(c.Lines, l)
		}
		return c
	}
	note := fmt.Sprintf(", %.0f %% loss", 100*loss)
	killed := func(pick func(*Times) float64) func(Row) (float64, bool) {
		return func(r Row) (float64, bool) {
			t := r.Kill
			if t == nil {
				t = r.Crash
			}
			if t == nil {
				return 0, false
			}
			return pick(t) / 1000, true
		}
	}
	return plot.Sheet(2,
		chart("Processes killed, p50 over survivors"+note, "s", killed(func(t *Times) float64 { return max(t.AllP50, 1) })),
		chart("Host gone, p50 over survivors"+note, "s", func(r Row) (float64, bool) {
			if r.Crash == nil {
				return 0, false
			}
			return r.Crash.AllP50 / 1000, true
		}),
		chart("Messages a member a second"+note, "1/s", func(r Row) (float64, bool) { return r.Messages, r.Messages > 0 }),
		chart("Bytes a member a second"+note, "B/s", func(r Row) (float64, bool) { return r.Bytes, r.Bytes > 0 }),
	)
}

// The marks between which a document has the table.
const (
	begin = "<!-- make sim-detect: begin -->\n"
	end   = "<!-- make sim-detect: end -->\n"
)

// Insert puts the table between the marks of a document.
func Insert(document []byte, table string) ([]byte, error) {
	i, j := bytes.Index(document, []byte(begin)), bytes.Index(document, []byte(end))
	if i < 0 || j < i {
		return nil, fmt.Errorf("the document has not the lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return slices.Concat(document[:i+len(begin)], []byte(table), document[j:]), nil
}
