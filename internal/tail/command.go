package tail

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/internal/cli"
)

// settings are what the flags say.
type settings struct {
	from, kind, node, output string
	limit                    int
	follow                   bool
	// timeout is how long a NATS server may take to answer at the start. One that
	// goes away later is waited for.
	timeout time.Duration
}

// Command is `healer events`. Environ is as in cli.App.
func Command(check config.DSNCheck, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "events", Short: "Show what Healer tells of the cluster",
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tailCommand(check, environ))
	return cmd
}

func tailCommand(check config.DSNCheck, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail --config FILE",
		Short: "Show events as they happen, and those that are kept",
		Long: strings.TrimSpace(`
Show the events of the cluster as they happen, and with --from those that NATS keeps,
each once, whichever agent told of it. It ends at Ctrl-C, after --limit events, or with
--follow=false when there are no more.

-o json writes one CloudEvent a line. Lines of the journal of runs (journal.entry) are
shown only when --kind asks for them. The kinds:

`) + "\n\n" + kindList(),
		Example: "  healer events tail --config healer.yaml\n  healer events tail --config healer.yaml --from 1h --kind 'recovery.*'\n" +
			"  healer events tail --config healer.yaml --from all --follow=false -o json | jq .data",
		Args: cli.NoArgs,
	}
	s := settings{}
	file := cli.ConfigFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&s.from, "from", "", "begin this long ago (90s, 1h, 7d), at this time (2026-01-31T15:00:00Z), with `all` that is kept, or now; default now, and all with --follow=false")
	f.StringVar(&s.kind, "kind", "", "only kinds of this `PATTERN`, such as 'recovery.*', '*.failed' or '>'")
	f.StringVarP(&s.node, "node", "n", "", "only what is about this `NODE`")
	f.IntVar(&s.limit, "limit", 0, "end after `N` events; 0 has no limit")
	f.BoolVarP(&s.follow, "follow", "f", true, "wait for more when all that is kept was shown")
	f.DurationVar(&s.timeout, "timeout", 10*time.Second, "wait so long for a NATS server at the start")
	f.StringVarP(&s.output, "output", "o", "table", "how to write events: `table|json`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := cli.LoadConfig(cmd, *file, check)
		if err != nil {
			return err
		}
		filter, err := s.check(c, time.Now())
		if err != nil {
			return cli.Usage(cmd, err)
		}
		return s.run(cmd, c, filter, environ)
	}
	return cmd
}

// kindList are all kinds, a subject a line.
func kindList() string {
	var lines []string
	last := ""
	for _, k := range events.Kinds() {
		subject, _, _ := strings.Cut(string(k), ".")
		if subject != last {
			lines, last = append(lines, " "), subject
		}
		lines[len(lines)-1] += " " + string(k)
	}
	return strings.Join(lines, "\n")
}

// check reads the flags, against the clock and the file.
func (s *settings) check(c *config.Config, now time.Time) (events.Filter, error) {
	// What ends with the history is worth nothing out of order.
	f := events.Filter{Kinds: s.kind, InOrder: !s.follow}
	if s.output != "table" && s.output != "json" {
		return f, fmt.Errorf("--output %q: use table or json", s.output)
	}
	if s.timeout <= 0 {
		return f, fmt.Errorf("--timeout %s: use a length above zero, such as 10s", s.timeout)
	}
	if s.limit < 0 {
		return f, fmt.Errorf("--limit %d: use 1 or more, or 0 for no limit", s.limit)
	}
	if err := f.Check(); err != nil {
		return f, fmt.Errorf("--kind %q: %w: use a kind, or a pattern such as 'recovery.*', '*.failed' or '>'", s.kind, err)
	}
	if names := append(c.Names(), c.WitnessNames()...); s.node != "" && !slices.Contains(names, s.node) {
		return f, fmt.Errorf("--node %q is not in the file: use one of %s", s.node, strings.Join(names, ", "))
	}
	from := s.from
	if from == "" && !s.follow {
		from = "all"
	}
	var err error
	if f.From, err = events.ParseFrom(from, now); err != nil {
		return f, fmt.Errorf("--from %w", err)
	}
	return f, nil
}

func (s *settings) run(cmd *cobra.Command, c *config.Config, f events.Filter, environ []string) error {
	ctx := cmd.Context()
	dial := broker.Dial(c, "healer events tail")
	dial.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := natsbus.Dial(ctx, dial)
	if err != nil {
		return err
	}
	defer client.Close()
	wait, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := client.AwaitConnection(wait); err != nil {
		return unless(ctx, err)
	}
	p := printer{node: s.node, left: s.limit, show: showJSON(cmd.OutOrStdout())}
	if s.output == "table" {
		p.show = showLine(cli.Terminal(cmd.OutOrStdout(), environ), width(c))
	}
	return unless(ctx, p.run(ctx, client, f, s.follow))
}

// unless is err, or nil when the operator has ended the command.
func unless(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
