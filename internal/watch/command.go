package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/internal/cli"
	"healer/internal/reach"
)

const (
	// answerWithin bounds one asking of the agents: one whose host has vanished must
	// not hold up the picture for long.
	answerWithin = 2 * time.Second
	// history is how far back events are shown, so that a recovery that is under way
	// is seen with its steps.
	history = time.Hour
	// retryEvents is the pause before the stream is asked again that was not there.
	retryEvents = 2 * time.Second
)

// Command is `healer watch`. Environ is as in cli.App.
func Command(check config.DSNCheck, environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch --config FILE",
		Short: "Show the cluster on the whole screen while it changes",
		Long: strings.TrimSpace(`
Show the cluster on the whole screen while it changes: its nodes, how far each has
applied every other, the gap, the running plan with its steps, the slots with the WAL
they hold back, and the events of the last hour as they come in.

All agents of the file are asked; the first in its order that answers is shown, and
those that do not are named. Events come over NATS. Keys: q ends it, tab and the arrows
go through the panels and scroll, p holds the picture, ? helps.

It needs a terminal: healer status and healer events tail tell the same to programs.
Exits 0 at q or Ctrl-C, 1 when it cannot run, 64 when wrongly called.`),
		Example: "  healer watch --config healer.yaml\n  NO_COLOR=1 healer watch --config healer.yaml --interval 5s",
		Args:    cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	every := cmd.Flags().Duration("interval", time.Second, "ask the agents this often")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := cli.LoadConfig(cmd, *file, check)
		if err != nil {
			return err
		}
		if *every < 100*time.Millisecond || *every > time.Hour {
			return cli.Usage(cmd, fmt.Errorf("--interval %s: use 100ms to 1h", *every))
		}
		in, inOK := cmd.InOrStdin().(*os.File)
		out, outOK := cmd.OutOrStdout().(*os.File)
		if !inOK || !outOK || !term.IsTerminal(in.Fd()) || !term.IsTerminal(out.Fd()) || slices.Contains(environ, "TERM=dumb") {
			return cli.Hint(errors.New("`healer watch` needs a terminal for its input and its output"),
				"use `healer status`, or `healer events tail` for what happens")
		}
		return run(cmd.Context(), c, *every, in, out, environ)
	}
	return cmd
}

// run shows the cluster until the operator has seen enough.
func run(ctx context.Context, c *config.Config, every time.Duration, in, out *os.File, environ []string) error {
	ctx, cancel := context.WithCancel(ctx)
	m := &model{cluster: c.Cluster, start: time.Now(), now: time.Now()}
	p := &poller{ctx: ctx, cfg: c, every: every}
	m.poll = p.next
	options := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environ), tea.WithoutSignalHandler(),
	}
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=" }) {
		// By its convention any value counts, not only those that mean true.
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	program := tea.NewProgram(m, options...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, c, program.Send)
	}()
	_, err := program.Run()
	ended := errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil // Ctrl-C, or a signal
	cancel()
	<-done
	if !ended {
		return err
	}
	return nil
}

// poller asks the agents, the first time at once.
type poller struct {
	ctx   context.Context //nolint:containedctx // the life of the command, which its model is not told
	cfg   *config.Config
	every time.Duration
	asked bool
}

func (p *poller) next() tea.Cmd {
	ask := func() tea.Msg { return p.ask() }
	if !p.asked {
		p.asked = true
		return tea.Sequence(ask, func() tea.Msg { return again{} })
	}
	return tea.Sequence(tea.Tick(p.every, func(time.Time) tea.Msg { return p.ask() }), func() tea.Msg { return again{} })
}

// ask has the status of the first agent in the file's order that answers, and has
// observed the mesh if any has.
func (p *poller) ask() reading {
	ctx, cancel := context.WithTimeout(p.ctx, answerWithin)
	defer cancel()
	all := reach.Agents(ctx, p.cfg)
	r := reading{at: time.Now()}
	for _, n := range p.cfg.Nodes {
		s, ok := all[n.Name]
		switch {
		case !ok:
			r.silent = append(r.silent, n.Name)
		case r.status == nil || (r.status.At.IsZero() && !s.At.IsZero()):
			r.status = &s
		}
	}
	return r
}

// follow sends what NATS tells until ctx ends. That it tells nothing keeps nobody from
// looking at the rest.
func follow(ctx context.Context, c *config.Config, send func(tea.Msg)) {
	dial := broker.Dial(c, "healer watch")
	dial.Log = slog.New(slog.DiscardHandler)
	client, err := natsbus.Dial(ctx, dial)
	if err != nil {
		send(busState{err.Error()})
		return
	}
	defer client.Close()
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.AwaitConnection(wait); err != nil {
		send(busState{err.Error()})
	}
	if err := client.AwaitConnection(ctx); err != nil {
		return
	}
	send(busState{})
	from := time.Now().Add(-history)
	for ctx.Err() == nil {
		for e, err := range events.Seq(ctx, client, events.Filter{From: events.FromTime(from)}) {
			if err != nil {
				send(busState{err.Error()})
				break
			}
			send(happened{e})
			from = e.Time // what comes twice is known by its id
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvents):
		}
	}
}
