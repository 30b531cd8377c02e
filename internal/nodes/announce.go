package nodes

import (
	"context"
	"errors"
	"time"

	"healer/config"
	"healer/events"
	"healer/internal/reach"
)

// teller names the command as an event's reporter.
const teller = "healer-node"

// tell publishes a fact through a bus of its own, and says what became of it.
func tell(ctx context.Context, c *config.Config, f events.Fact, data any) error {
	e, err := events.New(f, teller, time.Now(), data)
	if err != nil {
		return err
	}
	bus, err := reach.OpenBus(ctx, c, teller, f.Node)
	if err != nil {
		return err
	}
	return errors.Join(bus.Publish(e), bus.Finish(ctx))
}
