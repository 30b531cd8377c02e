package natsbus

import (
	"context"
	"errors"
	"fmt"

	"healer/events"
)

// Leader is the name of the NATS server that leads the cluster's stream: in the
// embedded one that of the node.
func (c *Client) Leader(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	st, err := c.js.Stream(ctx, events.Stream(c.cluster))
	if err != nil {
		return "", fmt.Errorf("the stream's leader: %w", err)
	}
	if info := st.CachedInfo().Cluster; info != nil && info.Leader != "" {
		return info.Leader, nil
	}
	return "", errors.New("the stream has no leader")
}
