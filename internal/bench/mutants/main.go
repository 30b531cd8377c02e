// Command mutants checks the chaos harness: with each of some deliberate bugs in the
// agents it soaks until a checker finds the bug, and writes down which did. A run counts
// only if the same scenario passes with the program as it is.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"healer/chaos/report"
	"healer/chaos/scenario"
	"healer/chaos/soak"
	"healer/internal/mutants"
)

type options struct {
	runs   int
	seed   uint64
	nodes  int
	major  int
	plot   string
	only   string
	settle time.Duration
	// patience is how long a node may be lost and not be healed.
	patience time.Duration
	out      string
	keep     string
	docs     string
	// table: nothing is run.
	table bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.IntVar(&o.runs, "runs", 50, "how many runs each mutant gets")
	flags.Uint64Var(&o.seed, "seed", 1, "the first run's seed")
	flags.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	flags.IntVar(&o.major, "pg", 18, "PostgreSQL's major version")
	flags.StringVar(&o.plot, "plot", "", "draw only this plot; without it, all but for the mutants that name one")
	flags.StringVar(&o.only, "only", "", "try only these mutants, with commas between")
	flags.DurationVar(&o.settle, "settle", 30*time.Second, "how long a cluster may take to be at rest")
	flags.DurationVar(&o.patience, "patience", soak.DefaultLimits().Patience, "how long a node may be lost and not be healed")
	flags.StringVar(&o.out, "out", "bench/out/mutants.jsonl", "the results so far, as JSON lines; what is tried again replaces its line")
	flags.StringVar(&o.keep, "keep", "", "the directory for scenarios that the program as it is does not pass")
	flags.StringVar(&o.docs, "docs", "", "the document whose table is rewritten")
	flags.BoolVar(&o.table, "table", false, "run nothing, and write the table of the results so far into -docs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !o.table {
		if err := soakAll(ctx, o, out); err != nil {
			return err
		}
	}
	return tell(o)
}

// soakAll tries the mutants that were asked for.
func soakAll(ctx context.Context, o options, out io.Writer) error {
	all, err := chosen(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "healer-mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// The servers may run as another user, who has to enter.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // it has to be entered
		return err
	}
	b := &bench{o: o, dir: dir, out: out}
	if err := mutants.Build(ctx, ".", b.dir, b.program("none"), "./cmd/healer"); err != nil {
		return err
	}
	for _, m := range all {
		caught, err := b.try(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		fmt.Fprintf(out, "%s: %+v\n", m.Name, caught)
		if err := keep(o.out, caught); err != nil {
			return err
		}
	}
	return nil
}

// tell writes the table, and objects to what was not caught.
func tell(o options) error {
	results, err := kept(o.out)
	if err != nil {
		return err
	}
	place := func(c report.Caught) int {
		return slices.IndexFunc(mutants.All(), func(m mutants.Mutant) bool { return m.Name == c.Mutant })
	}
	slices.SortStableFunc(results, func(a, b report.Caught) int { return cmp.Compare(place(a), place(b)) })
	if o.docs != "" {
		if err := report.RewriteMutants(o.docs, results); err != nil {
			return err
		}
	}
	for _, c := range results {
		if len(c.Checkers) == 0 {
			err = errors.Join(err, fmt.Errorf("%s was not caught in %d runs", c.Mutant, c.Runs))
		}
	}
	return err
}

// chosen are the mutants of these names; all when there is none.
func chosen(names string) ([]mutants.Mutant, error) {
	if names == "" {
		return mutants.All(), nil
	}
	var all []mutants.Mutant
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(mutants.All(), func(m mutants.Mutant) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no mutant %q", name)
		}
		all = append(all, mutants.All()[i])
	}
	return all, nil
}

// bench tries mutants.
type bench struct {
	o   options
	dir string
	out io.Writer
}

func (b *bench) program(mutant string) string { return filepath.Join(b.dir, "healer-"+mutant) }

// errCaught ends the soak of a mutant.
var errCaught = errors.New("caught")

// try soaks a mutant until it is caught.
func (b *bench) try(ctx context.Context, m mutants.Mutant) (report.Caught, error) {
	c := report.Caught{Mutant: m.Name, What: m.What, Plot: cmp.Or(b.o.plot, m.Plot)}
	sources := filepath.Join(b.dir, m.Name)
	if err := os.MkdirAll(sources, 0o750); err != nil {
		return c, err
	}
	if err := mutants.Build(ctx, ".", sources, b.program(m.Name), "./cmd/healer", m); err != nil {
		return c, err
	}
	defer func() { _ = os.Remove(b.program(m.Name)) }()
	soaking := b.soaking(b.program(m.Name))
	soaking.Runs, soaking.Seed, soaking.Drawing = b.o.runs, b.o.seed, b.drawing(c.Plot)
	soaking.Told = func(l report.Result) error {
		c.Runs++
		checkers := broken(l)
		b.say(m.Name, l)
		if len(checkers) == 0 {
			return nil
		}
		fine, err := b.fine(ctx, l.Seed, c.Plot)
		if err != nil || !fine {
			return err
		}
		c.Seed, c.Checkers = l.Seed, checkers
		return errCaught
	}
	_, err := soak.Soak(ctx, soaking)
	if errors.Is(err, errCaught) {
		err = nil
	}
	return c, err
}

// fine reports whether the program as it is passes the scenario of the seed.
func (b *bench) fine(ctx context.Context, seed uint64, plot string) (bool, error) {
	o := b.soaking(b.program("none"))
	o.Runs, o.Seed, o.Drawing = 1, seed, b.drawing(plot)
	if b.o.keep != "" {
		o.Keep = b.o.keep
	}
	fine := false
	o.Told = func(l report.Result) error {
		fine = !l.Failed()
		b.say("  the program as it is", l)
		return nil
	}
	_, err := soak.Soak(ctx, o)
	return fine, err
}

// say tells of a run.
func (b *bench) say(who string, l report.Result) {
	fmt.Fprintf(b.out, "%s, seed %d (%s): %s %s %s\n", who, l.Seed, strings.Join(l.Faults, ", "), strings.Join(broken(l), ", "), l.Trouble, l.Kept)
}

func (b *bench) drawing(plot string) scenario.Drawing {
	return scenario.Drawing{MinNodes: b.o.nodes, MaxNodes: b.o.nodes, Majors: []int{b.o.major}, Plot: plot}
}

func (b *bench) soaking(program string) soak.Options {
	limits := soak.DefaultLimits()
	limits.Settle, limits.Patience = b.o.settle, b.o.patience
	return soak.Options{
		Program: program, Keep: filepath.Join(b.dir, "kept"), Limits: limits, Out: io.Discard, Log: slog.New(slog.DiscardHandler),
	}
}

// broken are the checkers that found something, each once.
func broken(l report.Result) []string {
	var all []string
	for _, v := range l.Violations {
		if !slices.Contains(all, v.Checker) {
			all = append(all, v.Checker)
		}
	}
	return all
}

// kept are the results so far.
func kept(path string) ([]report.Caught, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []report.Caught
	for dec := json.NewDecoder(f); ; {
		var c report.Caught
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, c)
	}
}

// keep puts a result in the place of that mutant's earlier one.
func keep(path string, c report.Caught) error {
	all, err := kept(path)
	if err != nil {
		return err
	}
	all = append(slices.DeleteFunc(all, func(x report.Caught) bool { return x.Mutant == c.Mutant }), c)
	var b strings.Builder
	for _, x := range all {
		line, err := json.Marshal(x)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}
