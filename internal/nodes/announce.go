package nodes

import (
	"context"
	"errors"
	"os"
	"time"

	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/postgres"
)

// tellLimit bounds the wait for the stream to take an event: the work is done, and
// nothing depends on its being told.
const tellLimit = 5 * time.Second

// teller names the command as an event's reporter.
const teller = "healer-node"

// tell publishes a fact through a bus of its own, and says what became of it.
func tell(ctx context.Context, c *config.Config, f events.Fact, data any) (err error) {
	e, err := events.New(f, teller, time.Now(), data)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "healer-node-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	dial := natsbus.DialOptions{Cluster: c.Cluster, Name: teller, URLs: c.NATSURLs(f.Node)}
	bus, err := natsbus.Connect(ctx, natsbus.Options{DialOptions: dial, Agent: teller, Replicas: min(3, len(c.Nodes)), Dir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	err = bus.Publish(e)
	for err == nil && bus.Status().Pending > 0 {
		if postgres.Pause(ctx, 10*time.Millisecond) != nil {
			err = errors.New("the stream does not take it")
		}
	}
	return errors.Join(err, bus.Close(ctx))
}
