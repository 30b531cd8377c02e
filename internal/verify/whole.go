package verify

import (
	"context"
	"time"

	"healer/compare"
	"healer/config"
)

// Whole compares every replicated table of all nodes of the file, as the command
// does without flags, and repairs nothing.
func Whole(ctx context.Context, c *config.Config, barrierLimit time.Duration, progress func(compare.Progress)) (compare.Report, error) {
	m, err := open(ctx, c, c.Names(), barrierLimit)
	if err != nil {
		return compare.Report{}, err
	}
	defer m.Close()
	tables, err := m.tables(ctx, nil)
	if err != nil {
		return compare.Report{}, err
	}
	return compare.Run(ctx, m.peers(), tables, compare.Options{Cluster: c.Cluster, Barrier: m.barrier, Progress: progress})
}
