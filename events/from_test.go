package events_test

import (
	"strings"
	"testing"
	"time"

	"healer/events"
)

func TestParseFrom(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for s, want := range map[string]struct {
		replay bool
		at     time.Time
	}{
		"":                     {},
		"now":                  {},
		"all":                  {replay: true},
		"90s":                  {true, now.Add(-90 * time.Second)},
		"1h30m":                {true, now.Add(-90 * time.Minute)},
		"7d":                   {true, now.AddDate(0, 0, -7)},
		"2026-03-04T05:00:00Z": {true, now.Add(-6*time.Minute - 7*time.Second)},
	} {
		f, err := events.ParseFrom(s, now)
		at, replay := f.Replay()
		if err != nil || replay != want.replay || !at.Equal(want.at) {
			t.Errorf("%q begins at %s, %t, %v", s, at, replay, err)
		}
	}
	for _, s := range []string{"x", "1", "-1h", "0s", "0d", "99999d", "1.5d", "d", "2026-03-04", "2026-03-04T05:06:08Z", "yesterday"} {
		if _, err := events.ParseFrom(s, now); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
