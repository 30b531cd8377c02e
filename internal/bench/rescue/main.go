// Command rescue measures how long a gap takes to be carried over: by healer's
// rescue, and by the laggard's own apply worker that resumes over the same
// backlog, in turns and on the same servers.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
)

type options struct {
	scale      float64
	reps       int
	only       string
	out        string
	cpuProfile string
	healerOnly bool
	memory     bool
	latency    bool
	// spill is a directory of this run's own.
	spill string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("rescue", flag.ContinueOnError)
	flags.Float64Var(&o.scale, "scale", 1, "the size of each gap, as a factor")
	flags.IntVar(&o.reps, "reps", 3, "how often each gap is replayed by each of the two")
	flags.StringVar(&o.only, "only", "", "measure the gaps whose names contain this")
	flags.StringVar(&o.out, "out", "bench/out/rescue.json", "the file for the results")
	flags.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of the replays there")
	flags.BoolVar(&o.healerOnly, "healer-only", false, "leave PostgreSQL's own apply out, for profiles")
	flags.BoolVar(&o.memory, "memory", false, "replay one transaction of 5,000,000 rows instead, and tell the resident memory")
	flags.BoolVar(&o.latency, "latency", false, "replay gaps of one transaction instead, and tell how long they take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.spill, err = os.MkdirTemp("", "healer-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.spill)) }()
	switch {
	case o.memory:
		return memory(ctx, o, out)
	case o.latency:
		return latency(ctx, o, out)
	}
	return race(ctx, o, out)
}

// race measures all gaps.
func race(ctx context.Context, o options, out io.Writer) (err error) {
	if o.cpuProfile != "" {
		f, err := os.Create(o.cpuProfile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		defer func() { pprof.StopCPUProfile(); err = errors.Join(err, f.Close()) }()
	}
	results := []result{}
	for _, w := range workloads() {
		if !strings.Contains(w.name, o.only) {
			continue
		}
		r, err := measure(ctx, w, o, out)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		results = append(results, r)
	}
	if err := table(out, results); err != nil || o.healerOnly {
		return err
	}
	return write(o.out, o.scale, results)
}

// result is one case; times are medians, in seconds.
type result struct {
	Name   string  `json:"name"`
	Healer float64 `json:"healer_s"`
	Native float64 `json:"native_s"`
	Ratio  float64 `json:"ratio"`
	// Target is the ratio to reach, the others are every measurement.
	Target  float64   `json:"target"`
	Healers []float64 `json:"healer_runs_s"`
	Natives []float64 `json:"native_runs_s"`
	// The processor time of the last run of each.
	HealerCPU usage `json:"healer_cpu"`
	NativeCPU usage `json:"native_cpu"`
}

// measure replays one gap, by healer first and by PostgreSQL first in turns.
func measure(ctx context.Context, w workload, o options, out io.Writer) (r result, err error) {
	c, err := newCluster(ctx, w, o.scale)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r = result{Name: w.name, Target: w.target}
	healer := func() error {
		took, _, err := c.heal(ctx, o.spill)
		r.Healers, r.HealerCPU = append(r.Healers, took.Seconds()), c.cpu
		return err
	}
	native := func() error {
		took, err := c.resume(ctx)
		r.Natives, r.NativeCPU = append(r.Natives, took.Seconds()), c.cpu
		return err
	}
	for rep := range o.reps {
		turns := []func() error{healer, native}
		if o.healerOnly {
			turns = turns[:1]
		}
		if rep%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			for _, do := range []func() error{func() error { return c.reset(ctx) }, turn, func() error { return c.check(ctx) }} {
				if err := do(); err != nil {
					return r, err
				}
			}
		}
		fmt.Fprintf(out, "%s, %d of %d: healer %.2f s, PostgreSQL %.2f s\n", w.name, rep+1, o.reps, last(r.Healers), last(r.Natives))
	}
	r.Healer, r.Native = median(r.Healers), median(r.Natives)
	r.Ratio = r.Native / r.Healer
	return r, nil
}

func last(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[len(v)-1]
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.SortedFunc(slices.Values(v), cmp.Compare[float64])
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func table(out io.Writer, results []result) error {
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "gap\thealer s\tPostgreSQL s\tratio\twanted\tCPU s: source, agent, laggard\tPostgreSQL: lost, laggard\t")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%.2f\t%.2f\t%.2f\t%.1f\t%.2f %.2f %.2f\t%.2f %.2f\t\n", r.Name, r.Healer, r.Native, r.Ratio, r.Target,
			r.HealerCPU.Source, r.HealerCPU.Agent, r.HealerCPU.Laggard, r.NativeCPU.Source, r.NativeCPU.Laggard)
	}
	return tw.Flush()
}

func write(file string, scale float64, results []result) error {
	b, err := json.MarshalIndent(struct {
		Scale float64  `json:"scale"`
		Cases []result `json:"cases"`
	}{scale, results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o600)
}

// statements splits SQL that has no semicolon in its constants.
func statements(sql string) []string {
	var all []string
	for _, s := range strings.Split(sql, ";") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}
