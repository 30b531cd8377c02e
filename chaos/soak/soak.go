package soak

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"healer/chaos/check"
	"healer/chaos/report"
	"healer/chaos/scenario"
	"healer/chaos/workload"
	"healer/internal/chaoslab"
)

// Options say how many runs there are, and of what.
type Options struct {
	// Runs is how many; their seeds count from Seed on.
	Runs int
	Seed uint64
	// Drawing is among what scenarios are drawn; its Able is the lab's.
	Drawing scenario.Drawing
	// Budget ends the soak before a run that would begin later; 0 is without limit.
	Budget time.Duration
	// Program is the healer whose agents run.
	Program string
	// Keep is the directory for what failed.
	Keep string
	// Trials bounds the runs that reduce one that failed; 0 reduces nothing.
	Trials int
	// Env are further variables of the agents' environment.
	Env    []string
	Limits Limits
	// Told is called with each result.
	Told func(report.Result) error
	// Out gets what happens.
	Out io.Writer
	Log *slog.Logger
}

// Totals are what a soak came to.
type Totals struct {
	Runs, Violated, Troubled int
}

// Soak makes the runs. Its error is one that ended it early.
func Soak(ctx context.Context, o Options) (Totals, error) {
	k := &keeperOfLabs{o: o}
	defer k.close()
	var t Totals
	begin := time.Now()
	for _, seed := range order(o) {
		if ctx.Err() != nil || o.Budget > 0 && time.Since(begin) > o.Budget {
			break
		}
		s, err := k.draw(ctx, seed)
		if err != nil {
			return t, cmp.Or(context.Cause(ctx), err)
		}
		line, err := k.play(ctx, s)
		if err != nil {
			return t, err
		}
		t.Runs++
		if len(line.Violations) > 0 {
			t.Violated++
		} else if line.Trouble != "" {
			t.Troubled++
		}
		if err := o.Told(line); err != nil {
			return t, err
		}
		if err := k.reduce(ctx, s, line); err != nil {
			return t, err
		}
	}
	return t, nil
}

// order are the seeds, those of one size and version together: they share servers.
func order(o Options) []uint64 {
	seeds := make([]uint64, o.Runs)
	for i := range seeds {
		seeds[i] = o.Seed + uint64(i)
	}
	slices.SortStableFunc(seeds, func(a, b uint64) int {
		an, am := o.Drawing.Size(a)
		bn, bm := o.Drawing.Size(b)
		return cmp.Or(slices.Compare(am, bm), an-bn)
	})
	return seeds
}

// Play runs one scenario of a file on a lab of its own.
func Play(ctx context.Context, o Options, s *scenario.Scenario) (report.Result, error) {
	k := &keeperOfLabs{o: o}
	defer k.close()
	line, err := k.play(ctx, s)
	if err == nil {
		err = o.Told(line)
	}
	if err == nil {
		err = k.reduce(ctx, s, line)
	}
	return line, err
}

// keeperOfLabs has the lab of the last run, for as long as it is sound.
type keeperOfLabs struct {
	o      Options
	lab    *chaoslab.Lab
	remove func() // nil when there is no directory
	nodes  int
	pg     scenario.Majors
}

func (k *keeperOfLabs) close() {
	if k.lab != nil {
		if err := k.lab.Close(); err != nil {
			fmt.Fprintln(k.o.Out, "chaos: ending the cluster:", err)
		}
		k.lab = nil
	}
	if k.remove != nil {
		k.remove()
		k.remove = nil
	}
}

// get is a lab of that size, the last one if it can be used again.
func (k *keeperOfLabs) get(ctx context.Context, nodes int, pg scenario.Majors) (*chaoslab.Lab, error) {
	if k.lab != nil && k.nodes == nodes && slices.Equal(k.pg, pg) {
		return k.lab, nil
	}
	err := k.start(ctx, nodes, pg)
	if err != nil && ctx.Err() == nil {
		// A soak takes hours; what keeps one cluster from starting may pass.
		fmt.Fprintf(k.o.Out, "  another cluster is needed: %v\n", err)
		err = k.start(ctx, nodes, pg)
	}
	return k.lab, err
}

// start has a new lab in place of the last one.
func (k *keeperOfLabs) start(ctx context.Context, nodes int, pg scenario.Majors) error {
	k.close()
	dir, remove, err := chaoslab.NewDir(ctx)
	if err != nil {
		return err
	}
	k.remove = remove
	k.nodes, k.pg = nodes, pg
	k.lab, err = chaoslab.Start(ctx, chaoslab.Options{
		Nodes: nodes, Majors: pg, Program: k.o.Program, Dir: dir, Env: k.o.Env, Log: k.o.Log,
		Schema: workload.Schema(scenario.NodeNames(nodes)...), Conf: workload.Settings(),
	})
	return err
}

// draw is the scenario of a seed: of what a lab of its size is able to do.
func (k *keeperOfLabs) draw(ctx context.Context, seed uint64) (*scenario.Scenario, error) {
	nodes, pg := k.o.Drawing.Size(seed)
	l, err := k.get(ctx, nodes, pg)
	if err != nil {
		return nil, err
	}
	d := k.o.Drawing
	d.Able = l.Able
	return d.Draw(seed), nil
}

// play runs a scenario, and keeps what fails.
func (k *keeperOfLabs) play(ctx context.Context, s *scenario.Scenario) (report.Result, error) {
	out, line, err := k.once(ctx, s)
	if ctx.Err() != nil {
		return line, context.Cause(ctx) // what it came to is of the interruption
	}
	if err != nil || !line.Failed() {
		return line, err
	}
	line.Kept = filepath.Join(k.o.Keep, s.Name)
	if err := keep(line.Kept, s, out, line, k.lab); err != nil {
		return line, fmt.Errorf("keep what failed: %w", err)
	}
	k.close() // what a failure has left is not for others
	return line, nil
}

// reduce writes a shorter schedule that breaks one of the same promises beside what was
// kept of the failure, if it finds one.
func (k *keeperOfLabs) reduce(ctx context.Context, s *scenario.Scenario, failed report.Result) error {
	r := reducer{runs: k.o.Trials, out: k.o.Out, play: func(ctx context.Context, c *scenario.Scenario) (report.Result, error) {
		_, line, err := k.once(ctx, c)
		if line.Failed() {
			k.close()
		}
		return line, err
	}}
	short := r.reduce(ctx, s, failed.Violations)
	if len(short.Schedule) == len(s.Schedule) {
		return nil
	}
	path := filepath.Join(failed.Kept, "reduced.yaml")
	fmt.Fprintf(k.o.Out, "  reduced to %d of %d faults: %s\n", len(short.Schedule), len(s.Schedule), path)
	return write(path, short)
}

// once runs a scenario, once more when the cluster was not ready for it.
func (k *keeperOfLabs) once(ctx context.Context, s *scenario.Scenario) (Outcome, report.Result, error) {
	for try := 1; ; try++ {
		begin := time.Now()
		l, err := k.get(ctx, s.Nodes, s.PG)
		if err != nil {
			return Outcome{}, report.Result{}, err
		}
		out, err := Run(ctx, l, s, k.o.Limits, func(format string, args ...any) {
			fmt.Fprintf(k.o.Out, "  "+format+"\n", args...)
		})
		if errors.Is(err, errNotReady) && try == 1 {
			fmt.Fprintf(k.o.Out, "  a fresh cluster is needed: %v\n", err)
			k.close()
			continue
		}
		line := report.Result{
			Seed: s.Seed, Name: s.Name, Nodes: s.Nodes, Faults: []string{}, Violations: []check.Violation{},
			RTOMS: out.RTO, Healings: out.Healings, Transactions: len(out.Run.Transactions), TookMS: time.Since(begin).Milliseconds(), Load: chaoslab.Load(), Skipped: out.Skipped,
		}
		for _, n := range l.Mesh().Nodes() {
			line.Majors = append(line.Majors, n.Major())
		}
		if line.PG = slices.Min(line.Majors); line.PG == slices.Max(line.Majors) {
			line.Majors = nil
		}
		for _, f := range out.Run.Faults {
			if f.Kind != together {
				line.Faults = append(line.Faults, f.Kind)
			}
		}
		line.Violations = append(line.Violations, out.Violations...)
		if err != nil {
			line.Trouble = err.Error()
		}
		if len(s.Expect.Lost) > 0 {
			k.close() // a node that stayed lost may never be taken back
		}
		return out, line, nil
	}
}

// write writes a scenario.
func write(path string, s *scenario.Scenario) error {
	b, err := s.Marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// keep writes all that may explain a failure.
func keep(dir string, s *scenario.Scenario, out Outcome, line report.Result, l *chaoslab.Lab) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	errs := []error{write(filepath.Join(dir, "scenario.yaml"), s)}
	for name, what := range map[string]any{"run.json": out.Run, "result.json": line} {
		b, err := json.Marshal(what)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	errs = append(errs, writePage(filepath.Join(dir, "report.html"), s, out, line))
	if l == nil {
		return errors.Join(errs...)
	}
	for _, n := range l.Names() {
		errs = append(errs, copyFile(l.Mesh().Node(n).LogFile(), filepath.Join(dir, n+".server.log")),
			copyFile(l.AgentOf(n).Log(), filepath.Join(dir, n+".agent.log")))
	}
	return errors.Join(errs...)
}

// writePage writes the run as a page for people.
func writePage(path string, s *scenario.Scenario, out Outcome, line report.Result) error {
	var b bytes.Buffer
	p := report.Page{
		Title: "Chaos run " + s.Name, Run: out.Run, Violations: line.Violations, Skipped: line.Skipped,
		Facts: [][2]string{
			{"Seed", fmt.Sprint(line.Seed)},
			{"Nodes", fmt.Sprint(line.Nodes)},
			{"PostgreSQL", line.PostgreSQL()},
			{"Began (the logs may begin with earlier runs of these servers)", out.Run.Start.UTC().Format(time.RFC3339Nano)},
			{"The same faults again", "healer chaos replay " + filepath.Join(filepath.Dir(path), "scenario.yaml")},
		},
	}
	if line.Load > 0 {
		p.Facts = append(p.Facts, [2]string{"Load of the machine at its end", fmt.Sprint(line.Load)})
	}
	if line.Trouble != "" {
		p.Facts = append(p.Facts, [2]string{"Not judged", line.Trouble})
	}
	if err := p.Write(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
