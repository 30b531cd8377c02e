package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"

	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/cli"
	"healer/internal/words"
)

// errEnough ends a tail that has shown what was asked for.
var errEnough = errors.New("enough events were shown")

// printer shows the events that are wanted, until there are enough.
type printer struct {
	// node is what the events have to be about; empty takes all.
	node string
	// left is how many more are to be shown; 0 at the start is no limit.
	left int
	show func(events.Event) error
}

func (p *printer) run(ctx context.Context, c *natsbus.Client, f events.Filter, follow bool) (err error) {
	if follow {
		err = p.follow(ctx, c, f)
	} else {
		err = c.Past(ctx, f, p.print)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (p *printer) follow(ctx context.Context, c *natsbus.Client, f events.Filter) error {
	for e, err := range events.Seq(ctx, c, f) {
		if err == nil {
			err = p.print(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) print(e events.Event) error {
	if p.node != "" && e.Subject != p.node {
		return nil
	}
	if err := p.show(e); err != nil {
		return err
	}
	if p.left--; p.left == 0 {
		return errEnough
	}
	return nil
}

// showJSON writes each event as it is on NATS, on a line of its own.
func showJSON(w io.Writer) func(events.Event) error {
	return func(e events.Event) error {
		b, err := e.Encode()
		if err == nil {
			_, err = w.Write(append(b, '\n'))
		}
		return err
	}
}

// showLine writes each event as a line for a person; node is how wide the names
// of nodes are.
func showLine(w io.Writer, node int) func(events.Event) error {
	kind := 0
	for _, k := range events.Kinds() {
		kind = max(kind, len(k))
	}
	return func(e events.Event) error {
		head := fmt.Sprintf("%-8s  %-*s", e.Severity, kind, e.Kind())
		text := strings.ReplaceAll(words.Of(e), "\n", "; ")
		line := fmt.Sprintf("%s  %s  %-*s  %s", e.Time.UTC().Format("2006-01-02 15:04:05.000Z"), style(e).Render(cli.Clean(head)),
			node, cli.Clean(e.Subject), cli.Clean(text))
		_, err := io.WriteString(w, strings.TrimRight(line, " ")+"\n")
		return err
	}
}

// style colours an event by its severity; what ends well is green.
func style(e events.Event) lipgloss.Style {
	s := lipgloss.NewStyle()
	switch e.Severity {
	case events.Critical:
		return s.Foreground(lipgloss.Red).Bold(true)
	case events.Warning:
		return s.Foreground(lipgloss.Yellow)
	case events.Info:
	}
	if k := e.Kind(); k == events.RecoveryVerified || k == events.NodeRejoined {
		return s.Foreground(lipgloss.Green)
	}
	return s
}

// width is that of the longest name of a member.
func width(c *config.Config) int {
	w := 0
	for _, name := range append(c.Names(), c.WitnessNames()...) {
		w = max(w, len(name))
	}
	return w
}
