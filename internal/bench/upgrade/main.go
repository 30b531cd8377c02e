// Command upgrade upgrades a real cluster from one build of Healer to another, one agent
// at a time, and loses a node at each step: whatever mixture runs, the survivors have to be
// healed and the node to be taken back. At the end it goes one step back again.
//
//	go run ./internal/bench/upgrade -old /tmp/old/healer -new bin/healer
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	old, new, keep string
	limit          time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	flags.StringVar(&o.old, "old", "", "the program that all agents run at first")
	flags.StringVar(&o.new, "new", "", "the program that they are upgraded to")
	flags.StringVar(&o.keep, "keep", "", "keep data and logs of the agents in this directory")
	flags.DurationVar(&o.limit, "limit", 2*time.Minute, "how long each wait may take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, p := range []*string{&o.old, &o.new} {
		abs, err := filepath.Abs(*p)
		if info, serr := os.Stat(abs); err != nil || serr != nil || info.IsDir() {
			return fmt.Errorf("-old and -new name two programs: %q is none", *p)
		}
		*p = abs
	}
	c, err := newCluster(ctx, o, out)
	if err != nil {
		return err
	}
	err = c.upgrade(ctx)
	if err != nil {
		err = fmt.Errorf("%w%s", err, c.tails())
	}
	return errors.Join(err, c.close())
}

// step is one state of the cluster: who runs the new program, and who is lost then.
type step struct {
	new  []string
	lost string
}

// steps go from none to all, and one back. The node that is lost takes turns, so that the
// agent which acts, the first by name that lives, is once of the old and once of the new.
func steps() []step {
	return []step{
		{nil, "n3"},
		{[]string{"n1"}, "n3"},             // a new one acts on an old one
		{[]string{"n1"}, "n1"},             // the old ones are left alone
		{[]string{"n1", "n3"}, "n1"},       // an old one acts on a new one
		{[]string{"n1", "n2", "n3"}, "n2"}, // all are new
		{[]string{"n2", "n3"}, "n3"},       // one went back
	}
}

// upgrade goes through the steps.
func (c *cluster) upgrade(ctx context.Context) error {
	for n, s := range steps() {
		var names []string
		for _, node := range c.mesh.Names() {
			is := slices.Contains(s.new, node)
			if err := c.set(node, is); err != nil {
				return err
			}
			names = append(names, node+map[bool]string{false: " old", true: " new"}[is])
		}
		what := strings.Join(names, ", ") + "; " + s.lost + " is lost"
		began := time.Now()
		if err := c.loss(ctx, n, s.lost); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		fmt.Fprintf(c.out, "%-50s healed and taken back, %s; status: %s\n", what, time.Since(began).Round(10*time.Millisecond), c.mixed(ctx))
	}
	return nil
}
