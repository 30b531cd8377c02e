package watch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"healer/api"
	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/internal/cli"
	"healer/internal/reach"
)

// source is where the picture comes from.
type source interface {
	// cluster is its name; empty while only an agent knows it.
	cluster() string
	// ask has what the agents say now, until ctx ends.
	ask(ctx context.Context) reading
	// follow sends the events until ctx ends. That there are none keeps nobody from
	// looking at the rest.
	follow(ctx context.Context, send func(tea.Msg))
}

// sourceOf is what the flags name.
func sourceOf(cmd *cobra.Command, file, addr string, check config.DSNCheck) (source, error) {
	switch {
	case addr != "" && file != "":
		return nil, cli.Usage(cmd, errors.New("--api names one agent: it does not go with --config"))
	case addr != "":
		at, err := cli.AgentAddr(cmd, addr)
		if err != nil {
			return nil, err
		}
		client, err := cli.AgentClient(cmd, check)
		return oneAgent{addr: at, client: client}, err
	case file == "":
		return nil, cli.Usage(cmd, errors.New("`healer watch` needs --config FILE or --api HOST:PORT"))
	}
	c, err := cli.LoadConfig(cmd, file, check)
	if err != nil {
		return nil, err
	}
	return allAgents{cfg: c}, reach.CanAsk(c)
}

// allAgents are those of a file, and their NATS.
type allAgents struct{ cfg *config.Config }

func (a allAgents) cluster() string { return a.cfg.Cluster }

// ask implements source: the status is that of the first agent in the file's order that
// answers, and has observed the mesh if any has.
func (a allAgents) ask(ctx context.Context) reading {
	all := reach.Agents(ctx, a.cfg)
	r := reading{at: time.Now()}
	for _, name := range append(a.cfg.Names(), a.cfg.WitnessNames()...) {
		s, ok := all[name]
		switch {
		case !ok:
			r.silent = append(r.silent, name)
		case r.status == nil || (r.status.At.IsZero() && !s.At.IsZero()):
			r.status = &s
		}
	}
	return r
}

// follow implements source: what NATS tells.
func (a allAgents) follow(ctx context.Context, send func(tea.Msg)) {
	dial := broker.Dial(a.cfg, "healer watch")
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
	repeat(ctx, send, func(from time.Time, take func(events.Event)) error {
		for e, err := range events.Seq(ctx, client, events.Filter{From: events.FromTime(from)}) {
			if err != nil {
				return err
			}
			take(e)
		}
		return nil
	})
}

// oneAgent is asked for everything.
type oneAgent struct {
	addr   string
	client *http.Client
}

func (oneAgent) cluster() string { return "" }

func (o oneAgent) ask(ctx context.Context) reading {
	r := reading{at: time.Now()}
	s, err := api.FetchStatus(ctx, o.client, o.addr)
	if err != nil {
		r.silent = []string{o.addr}
		return r
	}
	r.status = &s
	return r
}

// follow implements source: what the agent's stream tells.
func (o oneAgent) follow(ctx context.Context, send func(tea.Msg)) {
	repeat(ctx, send, func(from time.Time, take func(events.Event)) error {
		return api.FollowEvents(ctx, o.client, o.addr, from, func() { send(busState{}) }, take)
	})
}

// repeat reads a stream of events anew whenever it ends, from the last one on.
func repeat(ctx context.Context, send func(tea.Msg), read func(from time.Time, take func(events.Event)) error) {
	from := time.Now().Add(-history)
	for ctx.Err() == nil {
		err := read(from, func(e events.Event) {
			send(happened{e})
			from = e.Time // what comes twice is known by its id
		})
		if err != nil && ctx.Err() == nil {
			send(busState{err.Error()})
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvents):
		}
	}
}
