// Command heal measures how long a cluster takes to heal: from the SIGKILL of a
// node's server and agent until recovery.verified reaches a subscriber. The same
// real cluster is used for all runs: a node falls behind, another is killed, the
// survivors are healed, the node comes back, and the next one's turn comes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	runs, rows, nodes, major int
	durable                  bool
	program                  string
	out, svg, docs           string
	kill                     string
	keep                     string
	limit                    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	c, err := newCluster(ctx, o, out)
	if err != nil {
		return err
	}
	rounds, err := measure(ctx, c, o, out)
	err = errors.Join(err, c.close())
	if len(rounds) == 0 {
		return err
	}
	r := summarize(rounds, o)
	return errors.Join(err, r.table(out), r.write(o), r.failed())
}

func parse(args []string) (o options, err error) {
	docs := false
	flags := flag.NewFlagSet("heal", flag.ContinueOnError)
	flags.IntVar(&o.runs, "runs", 100, "how many nodes are killed, one after the other")
	flags.IntVar(&o.rows, "rows", 10_000, "rows that the lost node wrote and one survivor lacks")
	flags.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flags.IntVar(&o.major, "pg", 0, "PostgreSQL's major version; 0: the newest there is")
	flags.BoolVar(&o.durable, "durable", true, "servers that wait for the disk, as in production")
	flags.StringVar(&o.program, "program", "bin/healer", "the healer that is measured")
	flags.StringVar(&o.out, "out", "bench/out/heal.json", "the file for the results")
	flags.StringVar(&o.svg, "svg", "bench/out/heal.svg", "the file for the plot")
	flags.StringVar(&o.kill, "kill", "", "kill this node each time; empty: each in its turn")
	flags.StringVar(&o.keep, "logs", "", "keep the agents' logs in this directory")
	flags.DurationVar(&o.limit, "limit", 2*time.Minute, "the longest that each part of a run may take")
	flags.BoolVar(&docs, "docs", false, "rewrite the table in docs/performance.md")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if docs {
		o.docs = "docs/performance.md"
	}
	switch {
	case o.runs < 1:
		return o, fmt.Errorf("-runs %d: give at least 1", o.runs)
	case o.rows < rowsPerTransaction:
		return o, fmt.Errorf("-rows %d: give at least %d", o.rows, rowsPerTransaction)
	case o.nodes < 3:
		return o, fmt.Errorf("-nodes %d: give at least 3, so that a majority survives", o.nodes)
	}
	if _, err := os.Stat(o.program); err != nil {
		return o, fmt.Errorf("-program: %w: make build", err)
	}
	return o, nil
}

// measure makes the runs. A run that fails is one that did not converge; when the
// cluster cannot be put back after it, the bench ends with what it has.
func measure(ctx context.Context, c *cluster, o options, out io.Writer) ([]round, error) {
	var rounds []round
	begin := time.Now()
	for n := range o.runs {
		r, err := c.round(ctx, n)
		if ctx.Err() != nil {
			return rounds, context.Cause(ctx)
		}
		rounds = append(rounds, r)
		said := r.String()
		if err != nil {
			said = "did not converge: " + err.Error()
		}
		left := time.Since(begin) / time.Duration(n+1) * time.Duration(o.runs-n-1)
		fmt.Fprintf(out, "%3d of %d, without %s: %s; %s left\n", n+1, o.runs, r.lost, said, left.Round(time.Second))
		if err := c.restore(ctx, r.lost); err != nil {
			return rounds, fmt.Errorf("%s was not taken back after run %d: %w%s", r.lost, n+1, err, c.tails())
		}
	}
	return rounds, nil
}
