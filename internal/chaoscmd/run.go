package chaoscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/chaos/scenario"
	"healer/chaos/soak"
	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/internal/chaoslab"
	"healer/internal/cli"
	"healer/internal/reach"
)

// runFlags are what the flags of `healer chaos run` say.
type runFlags struct {
	config, confirm, output string
	settle                  time.Duration
	dry                     bool
}

func runCommand(check config.DSNCheck) *cobra.Command {
	f := runFlags{output: "table", settle: 5 * time.Minute}
	cmd := &cobra.Command{
		Use:   "run FILE --config FILE --confirm CLUSTER",
		Short: "Make the faults of a scenario in a staging cluster of yours",
		Long: strings.TrimSpace(`
Makes the faults of a scenario in a cluster that runs already, and heals them: sessions
are terminated, subscriptions disabled, links cut that lead through the scenario's
proxies, and servers or hosts stopped by programs of yours. Then it waits until the
agents call the cluster healthy and the events have come that the scenario expects. It writes nothing into your tables and judges no rows:
"healer verify" does.

This breaks the cluster for a while: it is for staging. --confirm repeats the name of
the cluster, or nothing is done. Every fault is healed when its time is over, at the
end, and at Ctrl-C or SIGTERM; only SIGKILL would leave them.

The role of the file's dsn must be allowed what the faults do: pg_signal_backend to
terminate sessions, the ownership of a subscription to disable it.

Exit codes: 0 all was made, healed and is healthy; 1 something was not; 2 the cluster
did not become healthy, or an expectation of the scenario was not met; 64 wrongly
called; 130 interrupted, and healed.`),
		Example: "  healer chaos run drill.yaml --config /etc/healer.yaml --confirm app --dry-run\n  healer chaos run drill.yaml --config /etc/healer.yaml --confirm app",
		Args:    cobra.ExactArgs(1),
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "the cluster's `FILE`")
	fl.StringVar(&f.confirm, "confirm", "", "the name of the `CLUSTER`, as its file has it")
	fl.DurationVar(&f.settle, "settle", f.settle, "how long the cluster may take to be healthy at the end, and what the scenario expects to come; 0s: do not ask")
	fl.BoolVar(&f.dry, "dry-run", false, "show what would be done, and do nothing")
	outputFlag(cmd, &f.output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := cli.LoadConfig(cmd, f.config, check)
		if err != nil {
			return err
		}
		src, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		s, err := scenario.ParseFor(src, c.Names())
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", args[0], err)
		case f.output != "table" && f.output != "json":
			return badOutput(cmd, f.output)
		case f.dry:
			return plan(cmd, c, s)
		case f.confirm != c.Cluster:
			return cli.Usage(cmd, fmt.Errorf("--confirm %q is not the name of the cluster of %s: nothing was done; repeat it to break that cluster", f.confirm, f.config))
		}
		return f.run(cmd, c, s)
	}
	return cmd
}

// plan shows what would be done.
func plan(cmd *cobra.Command, c *config.Config, s *scenario.Scenario) error {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "dry run, nothing is done: %s would befall cluster %s\n", s.Name, c.Cluster)
	for _, p := range s.Proxies {
		fmt.Fprintf(w, "  proxy %s would listen on %s for %s\n", p.Name, p.Listen, p.Upstream)
	}
	for _, e := range s.Schedule {
		when, length := "at "+e.At.String(), "to the end"
		if e.After != "" {
			when = e.At.String() + " after " + e.After
		}
		if e.For > 0 {
			length = "for " + e.For.String()
		}
		fmt.Fprintf(w, "  %s, %s: %s\n", when, length, e.Fault)
	}
	return nil
}

// summary is what a run in a staging cluster came to.
type summary struct {
	Scenario string `json:"scenario"`
	Cluster  string `json:"cluster"`
	soak.Staged
	// HealthyMS is how long after the last fault the cluster was healthy; absent when
	// it was not, or not asked for.
	HealthyMS float64 `json:"healthy_ms,omitempty"`
}

func (f runFlags) run(cmd *cobra.Command, c *config.Config, s *scenario.Scenario) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	errs := cmd.ErrOrStderr()
	g, err := openStaging(c, s, errs)
	if err != nil {
		return err
	}
	defer g.close()
	r := summary{Scenario: s.Name, Cluster: c.Cluster}
	var unsettled error
	r.Staged, err = soak.Stage(ctx, &soak.Site{
		World: g, Follow: follow(ctx, c, errs, s), Patience: f.settle,
		Rest: func(ctx context.Context) {
			if f.settle > 0 {
				r.HealthyMS, unsettled = f.healthy(ctx, c)
			}
		},
		Log: func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) },
	}, s)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted, and not all was healed: %w", err)
	case ctx.Err() != nil:
		return interrupted()
	}
	if werr := f.write(cmd, r); err == nil {
		err = werr
	}
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case err != nil:
		return err
	case unsettled != nil:
		return violated("the cluster is not healthy %s after the last fault: %w", f.settle, unsettled)
	case len(r.Unmet) > 0:
		return violated("%s", strings.Join(r.Unmet, "; "))
	}
	return nil
}

// follow listens to the cluster's events. Where no NATS server answers, faults that wait
// for an event are not made; the others are.
func follow(ctx context.Context, c *config.Config, w io.Writer, s *scenario.Scenario) func(func(events.Event)) (func(), error) {
	return func(told func(events.Event)) (func(), error) {
		bus, err := natsbus.Dial(ctx, broker.Dial(c, "healer chaos"))
		if err != nil {
			return nil, err
		}
		patience, needed := 3*time.Second, needsEvents(s)
		if needed {
			patience *= 10
		}
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := bus.AwaitConnection(wait); err != nil && ctx.Err() == nil {
			if needed {
				bus.Close()
				return nil, err
			}
			fmt.Fprintln(w, "no events are heard:", err)
		}
		stop, err := bus.Subscribe(ctx, events.Filter{Kinds: ">"}, told)
		if err != nil {
			bus.Close()
			return nil, err
		}
		return func() { stop(); bus.Close() }, nil
	}
}

// needsEvents reports whether the scenario waits for events, or expects some.
func needsEvents(s *scenario.Scenario) bool {
	for _, e := range s.Schedule {
		if e.After != "" {
			return true
		}
	}
	return len(s.Expect.Events)+len(s.Expect.Never)+len(s.Expect.Refused) > 0
}

// healthy waits until every agent calls the cluster healthy.
func (f runFlags) healthy(ctx context.Context, c *config.Config) (float64, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, f.settle)
	defer cancel()
	err := chaoslab.Await(ctx, func(ctx context.Context) error {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		seen := reach.Agents(ask, c)
		cancel()
		for _, n := range c.Names() {
			s, ok := seen[n]
			switch {
			case !ok:
				return fmt.Errorf("the agent of %s does not answer", n)
			case s.State != api.Healthy:
				return fmt.Errorf("the agent of %s calls the cluster %s: %v", n, s.State, s.Reasons)
			}
		}
		return nil
	})
	return float64(time.Since(begin).Milliseconds()), err
}

func (f runFlags) write(cmd *cobra.Command, r summary) error {
	w := cmd.OutOrStdout()
	if f.output == "json" {
		return writeJSON(w, r)
	}
	fmt.Fprintf(w, "%s befell cluster %s: %d faults were made and healed\n", r.Scenario, r.Cluster, len(r.Faults))
	for _, x := range r.Faults {
		fmt.Fprintf(w, "  %s of %s from %s to %s: %s\n", x.Kind, x.Target, x.From.Round(time.Millisecond), x.Until.Round(time.Millisecond), cli.Clean(x.Note))
	}
	for _, x := range r.Skipped {
		fmt.Fprintf(w, "  not made: %s\n", cli.Clean(x))
	}
	if r.HealthyMS > 0 {
		fmt.Fprintf(w, "the cluster was healthy %.0f ms after the last fault\n", r.HealthyMS)
	}
	if len(r.Skipped) > 0 {
		return errors.New("not every fault was made")
	}
	return nil
}
