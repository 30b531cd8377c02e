package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/topology"
)

const (
	// tries is how often an event is given to a hook, over about three minutes.
	tries = 8
	// parallel is how many runs of one hook an agent has at once.
	parallel = 4
)

// Bus divides events among the agents.
type Bus interface {
	Share(ctx context.Context, o natsbus.Sharing, handle func(ctx context.Context, e events.Event, try int) error) (stop func(), err error)
}

// Options are what hooks are made of.
type Options struct {
	Bus   Bus
	Agent string
	Hooks []config.Hook
	Log   *slog.Logger
}

// Status is what came of a hook on this agent since its start.
type Status struct {
	// Name is the hook's place in the file with its pattern, such as 1:recovery.*.
	Name string
	// Done counts events, Failed tries that failed, GivenUp events of which the
	// last try failed. Running are under way.
	Done, Failed, GivenUp, Running int
	// Problem is why the latest try failed; empty when it did not.
	Problem string
}

// Hooks are the hooks of one agent.
type Hooks struct {
	all   []*hook
	stops []func()
}

// runner does what one hook is for.
type runner interface {
	run(ctx context.Context, e events.Event, try int) error
}

// Start begins to run the hooks of what happens from now on, or was not run yet. It
// fails when a hook cannot be used as it is: its program or its secret.
func Start(ctx context.Context, o Options) (*Hooks, error) {
	h := &Hooks{}
	for i, c := range o.Hooks {
		k := &hook{Status: Status{Name: strconv.Itoa(i+1) + ":" + c.On}, on: c.On}
		k.log = o.Log.With("hook", k.Name)
		var err error
		if k.runner, err = runnerOf(c, o.Agent); err != nil {
			h.Stop()
			return nil, &topology.Fault{Code: "hook_unusable", Hint: hintOf(c), Err: fmt.Errorf("hooks[%d]: %w", i, err)}
		}
		h.all = append(h.all, k)
	}
	for i, k := range h.all {
		c := o.Hooks[i]
		stop, err := o.Bus.Share(ctx, natsbus.Sharing{
			Name: nameOf(c), Kinds: c.On, Limit: c.Timeout, Tries: tries, Parallel: parallel,
		}, k.handle)
		if err != nil {
			h.Stop()
			return nil, err
		}
		h.stops = append(h.stops, stop)
	}
	return h, nil
}

// Names are those under which NATS keeps how far the hooks are.
func Names(all []config.Hook) []string {
	var out []string
	for _, c := range all {
		out = append(out, nameOf(c))
	}
	return out
}

// nameOf is the same on all agents, and another when the hook becomes another.
func nameOf(c config.Hook) string {
	return "hook-" + events.Hash(append([]string{c.On, c.Webhook, c.SecretFile, c.Timeout.String()}, c.Exec...)...)
}

func hintOf(c config.Hook) string {
	if c.Webhook != "" {
		return "make the file of secret_file readable for the agent's user alone, with the secret of the receiver"
	}
	return "install the program on every host, or correct exec"
}

func runnerOf(c config.Hook, agent string) (runner, error) {
	if c.Webhook != "" {
		return newWebhook(c.Webhook, c.SecretFile)
	}
	return newProgram(c.Exec, agent)
}

// Stop ends what is under way, which other agents then run, and waits for it.
func (h *Hooks) Stop() {
	for _, stop := range h.stops {
		stop()
	}
}

// Status is how the hooks do, in the order of the file.
func (h *Hooks) Status() []Status {
	var out []Status
	for _, k := range h.all {
		k.mu.Lock()
		out = append(out, k.Status)
		k.mu.Unlock()
	}
	return out
}

// hook is one hook with its figures.
type hook struct {
	on     string
	runner runner
	log    *slog.Logger

	mu sync.Mutex
	Status
}

// handle runs the hook for an event.
func (k *hook) handle(ctx context.Context, e events.Event, try int) error {
	if e.Kind() == events.JournalEntry && k.on != string(events.JournalEntry) {
		return nil // a record and no news: only who names it gets it
	}
	k.count(func(s *Status) { s.Running++ })
	began := time.Now()
	err := k.runner.run(ctx, e, try)
	log := k.log.With("event", e.ID, "kind", e.Kind(), "recovery", e.Recovery, "try", try, "took", time.Since(began))
	switch {
	case err == nil:
		k.count(func(s *Status) { s.Running--; s.Done++; s.Problem = "" })
		log.Info("hook has run")
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		k.count(func(s *Status) { s.Running-- })
		log.Info("hook is left to another agent")
		return err
	}
	givenUp := try >= tries
	k.count(func(s *Status) {
		s.Running--
		s.Failed++
		s.Problem = err.Error()
		if givenUp {
			s.GivenUp++
		}
	})
	if givenUp {
		log.Error("hook failed for the last time: the event is given up", "error", err)
	} else {
		log.Warn("hook failed and is tried again", "error", err)
	}
	return err
}

func (k *hook) count(f func(*Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.Status)
}

// brief is the beginning of what a hook said, on one line.
func brief(b []byte) string {
	const most = 400
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(b[:min(len(b), most)]), "?")), " ")
	if len(b) > most {
		s += " ..."
	}
	return s
}
