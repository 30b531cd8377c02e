package drive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"healer/events"
	"healer/executor"
	"healer/internal/reach"
	"healer/internal/steps"
	"healer/planner"
	"healer/postgres"
	"healer/rescue"
	"healer/topology"
)

// teller names the command as an event's reporter, and in the journal.
const teller = "healer-recovery"

// hands are what a plan is carried out with.
type hands struct {
	config executor.Config
	run    *steps.Run
	spill  string
	bus    *reach.Bus
	// mute is why nothing is told.
	mute error
}

func (m *mesh) hands(ctx context.Context, o order, d *ran, guard *lookout) (*hands, error) {
	spill, err := os.MkdirTemp("", teller+"-")
	if err != nil {
		return nil, err
	}
	h := &hands{spill: spill}
	h.bus, h.mute = reach.OpenBus(ctx, m.cfg, teller, o.failed)
	servers := map[string]steps.Server{}
	for name, s := range m.Servers {
		servers[name] = s
	}
	lost := func() []string { return guard.lost(m.cfg.Names()) }
	h.run = steps.New(steps.Options{
		Engine: m.Engine, Servers: servers, Wrap: postgres.Wrap,
		// Only the keeper of the source knows one.
		SafePoint: func(string, string, topology.LSN) (topology.LSN, bool) { return 0, false },
		Trigger: func() planner.Trigger {
			now := d.t
			now.Lost = lost()
			return now
		},
		Policy: func() planner.Policy { return m.policy(o) }, DrainLimit: m.cfg.Recovery.DrainTimeout, SpillDir: spill,
		Conflicts: rescue.Resolution(m.cfg.Recovery.Conflicts), Log: slog.New(slog.DiscardHandler),
	})
	h.config = executor.Config{
		Agent: teller, Handlers: h.run.Handlers(), Replanner: h.run, Publisher: h,
		Journal:   executor.Told{Local: nobody{}, Publisher: h, Cluster: m.cfg.Cluster},
		Deadlines: steps.Deadlines(m.cfg.Recovery), Lost: lost,
	}
	return h, nil
}

// nobody keeps no journal of its own: that of the agents has it.
type nobody struct{}

func (nobody) Record(...executor.Entry) error { return nil }

// Publish implements events.Publisher. Nothing depends on it.
func (h *hands) Publish(e events.Event) error {
	if h.bus == nil {
		return nil
	}
	return h.bus.Publish(e)
}

// end ends all that the run holds, and says what became of its events.
func (h *hands) end(ctx context.Context) string {
	err := h.mute
	closing := errors.Join(h.run.Close(context.WithoutCancel(ctx)), rescue.RemoveSpilled(h.spill), os.RemoveAll(h.spill))
	if h.bus != nil {
		err = h.bus.Finish(ctx)
	}
	said := "published"
	if err != nil {
		said = "not published: " + err.Error()
	}
	if closing != nil {
		said += fmt.Sprintf("; a session did not end cleanly: %v", closing)
	}
	return said
}
