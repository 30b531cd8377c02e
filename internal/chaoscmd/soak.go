package chaoscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"healer/chaos/check"
	"healer/chaos/report"
	"healer/chaos/scenario"
	"healer/chaos/soak"
	"healer/internal/cli"
)

// soakFlags are what the flags say.
type soakFlags struct {
	runs          int
	seed          uint64
	nodes, majors string
	plot, output  string
	keep          string
	trials        int
	budget        time.Duration
	dry           bool
}

func soakCommand() *cobra.Command {
	f := soakFlags{runs: 10, seed: 1, nodes: "3..5", majors: "newest", output: "table", keep: "healer-chaos", trials: 12}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Make faults at random on a real cluster of this machine, over and over",
		Long: strings.TrimSpace(`
Starts real PostgreSQL servers that replicate to each other both ways, with an agent
process for each, and makes run after run: clients write, faults that are drawn from
the run's seed befall servers, agents and links, all is healed, and checkers judge what
clients saw, what servers have, and what Healer told.

A run that fails is kept: its scenario, its reduced scenario, the logs of servers and
agents, events and history, in a directory below --keep that the result names. Then
"healer chaos replay DIR/scenario.yaml" makes the same faults again. The same seed draws the same
scenario on machines that can make the same faults; what the servers' scheduler does
with it differs from time to time.

As root, with /dev/net/tun, the agents are on hosts of a network of their own, whose
packets can be lost; and each server's data is on a file system of its own that can be
full. Elsewhere faults that need this are not drawn.

Exit codes: 0 no violation; 1 a run could not be made or judged; 2 a violation; 130
interrupted.`),
		Example: "  healer chaos soak --runs 20 --seed 7\n  healer chaos soak --runs 300 --nodes 3..5 --pg 16,17,18 -o json >> chaos.jsonl",
		Args:    cli.NoArgs,
	}
	fl := cmd.Flags()
	fl.IntVar(&f.runs, "runs", f.runs, "how many runs")
	fl.Uint64Var(&f.seed, "seed", f.seed, "the first run's seed; the others count on")
	fl.StringVar(&f.nodes, "nodes", f.nodes, "how many nodes: a number or a `RANGE` such as 3..5")
	fl.StringVar(&f.majors, "pg", f.majors, "PostgreSQL's major versions: newest, or some of `16,17,18,mixed`, of which each run draws one; mixed: each node its own")
	fl.StringVar(&f.plot, "plot", f.plot, "draw only this `PLOT`: "+strings.Join(scenario.Plots(), "|"))
	fl.StringVar(&f.keep, "keep", f.keep, "the `DIR`ectory for what failed")
	fl.IntVar(&f.trials, "reduce", f.trials, "reduce a failing schedule in at most so many `RUNS`; 0: do not")
	fl.DurationVar(&f.budget, "for", f.budget, "begin no run after this `TIME`")
	fl.BoolVar(&f.dry, "dry-run", f.dry, "show the scenarios that would be run, and start nothing")
	fl.StringVarP(&f.output, "output", "o", f.output, "how to write the results: `table|json`; json: one line for each run, all else to standard error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := f.drawing()
		if err != nil {
			return cli.Usage(cmd, err)
		}
		if f.output != "table" && f.output != "json" {
			return badOutput(cmd, f.output)
		}
		if f.dry {
			return showDraws(cmd.OutOrStdout(), d, f)
		}
		return f.run(cmd, d)
	}
	return cmd
}

// drawing reads the flags that say among what is drawn.
func (f soakFlags) drawing() (d scenario.Drawing, err error) {
	var errs []error
	low, high, ranged := strings.Cut(f.nodes, "..")
	if !ranged {
		high = low
	}
	var err1, err2 error
	d.MinNodes, err1 = strconv.Atoi(low)
	d.MaxNodes, err2 = strconv.Atoi(high)
	if err1 != nil || err2 != nil || d.MinNodes < scenario.MinNodes || d.MaxNodes > scenario.MaxNodes || d.MinNodes > d.MaxNodes {
		errs = append(errs, fmt.Errorf("--nodes %q: use a number or a range within %d..%d", f.nodes, scenario.MinNodes, scenario.MaxNodes))
	}
	words := map[string]int{"newest": 0, "mixed": scenario.Mixed, "16": 16, "17": 17, "18": 18}
	for _, m := range strings.Split(f.majors, ",") {
		major, known := words[m]
		if !known {
			errs = append(errs, fmt.Errorf("--pg %q: use newest, or some of 16,17,18,mixed", f.majors))
		}
		d.Majors = append(d.Majors, major)
	}
	if f.runs < 1 {
		errs = append(errs, fmt.Errorf("--runs %d: give at least 1", f.runs))
	}
	if f.plot != "" && !slices.Contains(scenario.Plots(), f.plot) {
		errs = append(errs, fmt.Errorf("--plot %q: use one of %s", f.plot, strings.Join(scenario.Plots(), ", ")))
	}
	d.Plot = f.plot
	return d, errors.Join(errs...)
}

func showDraws(w io.Writer, d scenario.Drawing, f soakFlags) error {
	for i := range f.runs {
		b, err := d.Draw(f.seed + uint64(i)).Marshal()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s", b); err != nil {
			return err
		}
	}
	return nil
}

// options are those of a soak by this program.
func (f soakFlags) options(cmd *cobra.Command) (soak.Options, error) {
	program, err := os.Executable()
	return soak.Options{
		Runs: f.runs, Seed: f.seed, Budget: f.budget, Program: program, Keep: f.keep, Trials: f.trials,
		Limits: soak.DefaultLimits(), Out: cmd.ErrOrStderr(),
	}, err
}

func (f soakFlags) run(cmd *cobra.Command, d scenario.Drawing) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	o.Drawing = d
	o.Told = func(l report.Result) error { return tell(cmd, f.output, l) }
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	t, err := soak.Soak(ctx, o)
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case err != nil:
		return err
	case t.Violated > 0:
		return violated("%d of %d runs broke a promise; see %s", t.Violated, t.Runs, f.keep)
	case t.Troubled > 0:
		return fmt.Errorf("%d of %d runs could not be judged; see %s", t.Troubled, t.Runs, f.keep)
	}
	if f.output == "table" {
		fmt.Fprintf(cmd.OutOrStdout(), "%d runs, no violation\n", t.Runs)
	}
	return nil
}

// untilSignal ends at a signal too. The first asks for an orderly end, which heals every
// fault; main lets a second one have the system's effect.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// tell writes the result of a run.
func tell(cmd *cobra.Command, output string, l report.Result) error {
	if output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(l)
	}
	w := cmd.OutOrStdout()
	said := "ok"
	switch {
	case len(l.Violations) > 0:
		said = fmt.Sprintf("%d VIOLATIONS", len(l.Violations))
	case l.Trouble != "":
		said = "not judged"
	}
	fmt.Fprintf(w, "%s: %s; %d nodes, PostgreSQL %s, %d transactions, RTO %.0f ms, took %s: %s\n", l.Name, said, l.Nodes, l.PostgreSQL(),
		l.Transactions, l.RTOMS, (time.Duration(l.TookMS) * time.Millisecond).Round(100*time.Millisecond), strings.Join(l.Faults, " "))
	return explain(w, l)
}

func explain(w io.Writer, l report.Result) error {
	for _, v := range l.Violations {
		fmt.Fprintf(w, "  %s: %s\n", v.Checker, cli.Clean(v.Detail))
	}
	if l.Trouble != "" {
		fmt.Fprintf(w, "  not judged: %s\n", cli.Clean(l.Trouble))
	}
	if l.Kept != "" {
		fmt.Fprintf(w, "  kept in %s\n", l.Kept)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func replayCommand() *cobra.Command {
	f := soakFlags{output: "table", keep: "healer-chaos"}
	times := 1
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run one scenario on a real cluster of this machine",
		Long: strings.TrimSpace(`
Runs a scenario, from a file that soak kept or that you wrote, on a cluster that it
starts and removes. docs/chaos.md has the form of the file.

Exit codes: as of soak.`),
		Example: "  healer chaos replay healer-chaos/seed-7/reduced.yaml --times 5",
		Args:    cobra.ExactArgs(1),
	}
	fl := cmd.Flags()
	fl.IntVar(&times, "times", times, "run it so many times")
	fl.StringVar(&f.keep, "keep", f.keep, "the `DIR`ectory for what failed")
	fl.IntVar(&f.trials, "reduce", f.trials, "reduce a failing schedule in at most so many `RUNS`; 0: do not")
	fl.BoolVar(&f.dry, "dry-run", f.dry, "check the file, and start nothing")
	fl.StringVarP(&f.output, "output", "o", f.output, "how to write the result: `table|json`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.output != "table" && f.output != "json" {
			return badOutput(cmd, f.output)
		}
		s, err := scenario.Load(args[0])
		if err != nil {
			return err
		}
		if f.dry {
			fmt.Fprintf(cmd.OutOrStdout(), "%s is sound: %d faults on %d nodes\n", args[0], len(s.Schedule), s.Nodes)
			return nil
		}
		return f.replay(cmd, s, times)
	}
	return cmd
}

func (f soakFlags) replay(cmd *cobra.Command, s *scenario.Scenario, times int) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	o.Told = func(l report.Result) error { return tell(cmd, f.output, l) }
	var broken []check.Violation
	for range times {
		l, err := soak.Play(ctx, o, s)
		if ctx.Err() != nil {
			return interrupted()
		}
		if err != nil {
			return err
		}
		if l.Trouble != "" {
			return fmt.Errorf("%s could not be judged: %s", s.Name, l.Trouble)
		}
		broken = append(broken, l.Violations...)
	}
	if len(broken) > 0 {
		return violated("%s broke %d promises", s.Name, len(broken))
	}
	return nil
}
