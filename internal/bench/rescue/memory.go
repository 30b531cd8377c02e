package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// memory replays one transaction of five million rows, touched keys included, and
// tells the peak of this process's resident memory.
func memory(ctx context.Context, o options, out io.Writer) (err error) {
	w := workload{
		name: "memory", n: 5_000_000, schema: plainTable,
		gap: func(n int) string {
			return fmt.Sprintf(`insert into t select i, i, 'row ' || i from generate_series(1, %d) i`, n)
		},
	}
	c, err := newCluster(ctx, w, o.scale)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.reset(ctx); err != nil {
		return err
	}
	before, err := peak(true)
	if err != nil {
		return err
	}
	took, report, err := c.heal(ctx, o.spill)
	if err != nil {
		return err
	}
	after, err := peak(false)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "1 transaction of %d rows in %.1f s; resident memory: %s before, %s at the peak; touched keys: %s\n",
		report.Rows, took.Seconds(), before, after, report.Keys)
	return c.check(ctx)
}

// peak is the highest resident memory so far; it may be reset to what it is now.
func peak(reset bool) (string, error) {
	if reset {
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
			return "", err
		}
	}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line), nil
}

// latency replays gaps of one transaction: what is told is the time from the
// clone's creation until the replay has returned, durable and with its connections
// opened meanwhile.
func latency(ctx context.Context, o options, out io.Writer) (err error) {
	w := workload{
		name: "latency", n: 1, schema: plainTable,
		gap: func(int) string { return `insert into t values (1, 1, 'one')` },
	}
	c, err := newCluster(ctx, w, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var all []float64
	for range max(o.reps, 9) {
		if err := c.reset(ctx); err != nil {
			return err
		}
		took, _, err := c.heal(ctx, o.spill)
		if err != nil {
			return err
		}
		if err := c.check(ctx); err != nil {
			return err
		}
		all = append(all, took.Seconds())
	}
	fmt.Fprintf(out, "a gap of 1 transaction, durable after the clone's creation: median %s of %d\n",
		time.Duration(median(all)*float64(time.Second)).Round(100*time.Microsecond), len(all))
	return nil
}
