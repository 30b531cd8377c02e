package verify

import (
	"fmt"
	"io"
	"sync"
	"time"

	"healer/compare"
	"healer/internal/meter"
)

// Watch shows on out how far a comparison is that takes a while: it is told by tell.
// Call end when it is done.
func Watch(out io.Writer) (tell func(compare.Progress), end func()) {
	var mu sync.Mutex
	var last compare.Progress
	m := meter.Start(out, func(took time.Duration, bar bool) string {
		mu.Lock()
		defer mu.Unlock()
		return clean(progressLine(last, took, bar))
	})
	return func(p compare.Progress) {
		mu.Lock()
		defer mu.Unlock()
		last = p
	}, m.Stop
}

// progressLine is one line of progress. The total is an estimate, so nothing is
// said to be done before it is.
func progressLine(p compare.Progress, took time.Duration, bar bool) string {
	speed := float64(p.Rows) / max(took.Seconds(), 0.001)
	line := fmt.Sprintf("%s  %s rows, %s/s", meter.Part(float64(p.Rows), float64(p.Total), bar), number(p.Rows), number(int64(speed)))
	line += meter.Left(float64(p.Rows), float64(p.Total), took)
	if p.Differing > 0 {
		line += ", " + number(p.Differing) + " differ"
	}
	if p.Table != "" {
		line += "  " + p.Table
	}
	return line
}
