package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseFrom reads where to begin, as people write it: now, all, how long ago, such as
// 90s, 1h or 7d, or a time of RFC 3339. Empty is now.
func ParseFrom(s string, now time.Time) (From, error) {
	switch s {
	case "", "now":
		return FromNow(), nil
	case "all":
		return FromStart(), nil
	}
	if d, ok := ago(s); ok {
		if d <= 0 {
			return From{}, fmt.Errorf("%q is not in the past: use a length above zero, such as 1h", s)
		}
		return FromTime(now.Add(-d)), nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		if at.After(now) {
			return From{}, fmt.Errorf("%q is not in the past: use a time before %s", s, now.UTC().Format(time.RFC3339))
		}
		return FromTime(at), nil
	}
	return From{}, fmt.Errorf("%q is no beginning: use how long ago (90s, 1h, 7d), a time (2026-01-31T15:00:00Z), all, or now", s)
}

// ago reads a duration, also in whole days.
func ago(s string) (time.Duration, bool) {
	if days, found := strings.CutSuffix(s, "d"); found {
		// More days than that are no duration.
		n, err := strconv.ParseInt(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}
