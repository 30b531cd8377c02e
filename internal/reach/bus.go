package reach

import (
	"context"
	"errors"
	"os"
	"time"

	"healer/config"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/postgres"
)

// Bus is the bus of a command that ends when its work is done. Nothing depends on
// it: without a broker it takes events all the same.
type Bus struct {
	*natsbus.Bus
	dir string
}

// OpenBus connects in the background, under a name that events have as their
// reporter. The broker of the node without is not asked: it may be gone.
func OpenBus(ctx context.Context, c *config.Config, name, without string) (*Bus, error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	bus, err := natsbus.Connect(ctx, natsbus.Options{DialOptions: broker.Dial(c, name, without), Agent: name, Replicas: min(3, len(c.Nodes)), Dir: dir})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Bus{Bus: bus, dir: dir}, nil
}

// tellLimit bounds the wait for the stream, and dialLimit that for a broker: the work
// is done, and nothing depends on its being told.
const (
	tellLimit = 5 * time.Second
	dialLimit = time.Second
)

// Finish waits until the stream has all events, as long as that may take, and
// closes the bus. What it has not got by then is not told.
func (b *Bus) Finish(ctx context.Context) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellLimit)
	defer cancel()
	var err error
	began := time.Now()
	for err == nil && b.Status().Pending > 0 {
		switch {
		case !b.Status().Connected && time.Since(began) > dialLimit:
			err = errors.New("no NATS server answers")
		case postgres.Pause(limited, 10*time.Millisecond) != nil:
			err = errors.New("the stream does not take it")
		}
	}
	if err != nil {
		cancel() // nor would it while the bus is being closed
	}
	return errors.Join(err, b.Close(limited), os.RemoveAll(b.dir))
}
