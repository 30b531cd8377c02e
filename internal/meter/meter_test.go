package meter

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMeter says nothing of what is soon done, one line that is taken away on a terminal,
// and lines elsewhere; other text is not mixed up with it.
func TestMeter(t *testing.T) {
	for name, c := range map[string]struct {
		live bool
		took time.Duration
		want string
	}{
		"soon done":            {true, time.Second, "other\n"},
		"on a terminal":        {true, 2100 * time.Millisecond, "other\n\rat 2s\r     \r"},
		"it goes on":           {true, 2300 * time.Millisecond, "other\n\rat 2s\rat 2s\r     \r"},
		"in a file":            {false, 2100 * time.Millisecond, "other\nat 2s\n"},
		"in a file, long":      {false, 12100 * time.Millisecond, "other\nat 2s\nat 12s\n"},
		"in a file, soon done": {false, time.Second, "other\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			m := start(&out, c.live, func(took time.Duration, bar bool) string {
				if bar != c.live {
					t.Errorf("%s: bar %t", name, bar)
				}
				return "at " + took.Truncate(time.Second).String()
			})
			if _, err := m.Write([]byte("other\n")); err != nil {
				t.Error(err)
			}
			time.Sleep(c.took)
			m.Stop()
			if got := out.String(); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}

// TestBetween takes the line away before other text is written.
func TestBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := start(&out, true, func(time.Duration, bool) string { return "half" })
		time.Sleep(2100 * time.Millisecond)
		if _, err := m.Write([]byte("other\n")); err != nil {
			t.Error(err)
		}
		m.Stop()
		if got := out.String(); got != "\rhalf\r    \rother\n" {
			t.Errorf("%q", got)
		}
	})
}

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		" 0%":                                   Part(0, 0, false),
		"99%":                                   Part(20, 10, false),
		"[############............] 50%":        Part(5, 10, true),
		", 30s left":                            Left(25, 100, 10*time.Second),
		"":                                      Left(0, 100, time.Second) + Left(100, 100, time.Second) + Left(1, 2, 0),
		"[" + strings.Repeat(".", 24) + "]  0%": Part(-1, 10, true),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
