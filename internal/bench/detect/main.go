// Command detect measures how soon agents see a failure, and how often they see
// one that is none: real servers and real agent processes on this machine, with
// plain memberlist beside them.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	trials   int
	only     string
	resume   bool
	clusters int
	load     time.Duration
	idle     bool
	idleFor  time.Duration
	out      string
	docs     string
	plot     string
	healer   string

	// Children of this program.
	member, probe string
	burn          bool

	self string
	log  io.Writer
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

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o := options{log: out}
	flags := flag.NewFlagSet("detect", flag.ContinueOnError)
	flags.IntVar(&o.trials, "trials", 100, "the trials of each case, at least")
	flags.StringVar(&o.only, "only", "", "the cases whose names contain one of these, with commas")
	flags.BoolVar(&o.resume, "resume", false, "leave out the cases that the file of results has with enough trials")
	flags.IntVar(&o.clusters, "clusters", 4, "the clusters of agents that see one fault, where it is not a death")
	flags.DurationVar(&o.load, "load", 10*time.Minute, "for how long the cores are loaded")
	flags.BoolVar(&o.idle, "idle", false, "measure what idle agents cost instead")
	flags.DurationVar(&o.idleFor, "idle-for", time.Minute, "for how long that is measured")
	flags.StringVar(&o.out, "out", "bench/out/detect.json", "the file of the results; cases that are not measured stay in it")
	flags.StringVar(&o.docs, "docs", "", "the document whose marked tables are rewritten, such as docs/detection.md")
	flags.StringVar(&o.plot, "plot", "", "the file for the plot, such as docs/detection.svg")
	flags.StringVar(&o.healer, "healer", "bin/healer", "the program to measure")
	flags.StringVar(&o.member, "member", "", "for this program's own use")
	flags.StringVar(&o.probe, "probe", "", "for this program's own use")
	flags.BoolVar(&o.burn, "burn", false, "for this program's own use")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case o.burn:
		return spin(ctx)
	case o.probe != "":
		return probeAlone(ctx, o.probe)
	case o.member != "":
		return members1(ctx, o.member, out)
	}
	if o.self, err = os.Executable(); err != nil {
		return err
	}
	if _, err := os.Stat(o.healer); err != nil {
		return fmt.Errorf("the program to measure: %w (make build makes it; -healer names another)", err)
	}
	b, err := readBook(o.out)
	if err != nil {
		return fmt.Errorf("%s: %w", o.out, err)
	}
	if o.idle {
		b.Idle, err = idle(ctx, o)
	} else {
		err = measure(ctx, o, &b)
	}
	if err != nil {
		return err
	}
	return publish(o, b)
}

// members1 runs the seats that a file describes.
func members1(ctx context.Context, file string, out io.Writer) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var seats []seat
	if err := json.Unmarshal(data, &seats); err != nil {
		return err
	}
	return sit(ctx, seats, out)
}

// measure runs the cases, one after another, and writes the file after each. A case
// that fails leaves the others be.
func measure(ctx context.Context, o options, b *book) error {
	var failed []string
	for _, c := range cases() {
		old, had := b.find(c.name)
		if !wanted(o.only, c.name) || (o.resume && had && old.Trials >= o.trials) {
			continue
		}
		fmt.Fprintf(o.log, "%s %s ...\n", time.Now().Format(time.TimeOnly), c.name)
		r := result{Name: c.name}
		if err := c.run(ctx, o, &r); err != nil {
			fmt.Fprintf(o.log, "  FAILED: %v\n", err)
			failed = append(failed, c.name)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		for _, f := range []*figures{&r.figures, r.Lan, r.Tuned} {
			f.conclude()
		}
		fmt.Fprintf(o.log, "  %s\n", row(c, r))
		b.put(r)
		if err := b.write(o.out); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not measured: %s; -resume measures what is missing", strings.Join(failed, ", "))
	}
	return nil
}

func wanted(only, name string) bool {
	if only == "" {
		return true
	}
	for _, part := range strings.Split(only, ",") {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
