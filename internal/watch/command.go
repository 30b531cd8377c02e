package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
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
		Use:   "watch (--config FILE | --api HOST:PORT)",
		Short: "Show the cluster on the whole screen while it changes",
		Long: strings.TrimSpace(`
Show the cluster on the whole screen while it changes: its nodes, how far each has
applied every other, the gap, the running plan with its steps, the slots with the WAL
they hold back, and the events of the last hour as they come in.

All agents of the file are asked, those of witnesses too; the first in its order that
answers is shown, and those that do not are named. Events come over NATS. With --api one
agent is asked for all of it, and no file is needed. Keys: q ends it, tab and the arrows
go through the panels and scroll, p holds the picture, ? helps.

It needs a terminal: healer status and healer events tail tell the same to programs.
Exits 0 at q or Ctrl-C, 1 when it cannot run, 64 when wrongly called.`),
		Example: "  healer watch --config healer.yaml\n  healer watch --api 10.0.0.1:8081\n  NO_COLOR=1 healer watch --config healer.yaml --interval 5s",
		Args:    cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	addr := cli.AgentFlags(cmd, "for everything ask")
	every := cmd.Flags().Duration("interval", time.Second, "ask the agents this often")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := sourceOf(cmd, *file, *addr, check)
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
		return run(cmd.Context(), from, *every, in, out, environ)
	}
	return cmd
}

// run shows the cluster until the operator has seen enough.
func run(ctx context.Context, from source, every time.Duration, in, out *os.File, environ []string) error {
	ctx, cancel := context.WithCancel(ctx)
	m := &model{cluster: from.cluster(), start: time.Now(), now: time.Now()}
	p := &poller{ctx: ctx, from: from, every: every}
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
		from.follow(ctx, program.Send)
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
	from  source
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

func (p *poller) ask() reading {
	ctx, cancel := context.WithTimeout(p.ctx, answerWithin)
	defer cancel()
	return p.from.ask(ctx)
}
