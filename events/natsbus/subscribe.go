package natsbus

import (
	"context"

	"healer/events"
)

// Subscribe implements events.Subscriber.
func (c *Client) Subscribe(ctx context.Context, f events.Filter, handle func(events.Event)) (func(), error) {
	panic("TODO")
}
