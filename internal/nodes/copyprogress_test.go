package nodes

import (
	"testing"
	"time"
)

func TestCopyLine(t *testing.T) {
	for want, c := range map[string]struct {
		rows, total int64
		bar         bool
	}{
		"50%  500 rows copied, 100/s, 5s left":                            {500, 1000, false},
		"[############............] 50%  500 rows copied, 100/s, 5s left": {500, 1000, true},
		"500 rows copied, 100/s":                                          {500, 0, true},
		"99%  1500 rows copied, 300/s":                                    {1500, 1000, false},
	} {
		if got := copyLine(c.rows, c.total, 5*time.Second, c.bar); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
