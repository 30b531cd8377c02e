package verify

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"healer/compare"
)

const (
	// patience is how long a comparison runs before it says how far it is.
	patience = 2 * time.Second
	// redraw and repeat are the pauses between two looks: on a terminal, and where
	// each is a line of its own.
	redraw, repeat = 200 * time.Millisecond, 10 * time.Second
)

// meter shows the progress of a comparison that takes a while. Its goroutine ends
// with stop, which waits for it.
type meter struct {
	out   io.Writer
	live  bool
	begin time.Time

	mu   sync.Mutex
	last compare.Progress

	done chan struct{}
	idle sync.WaitGroup
}

// watch starts a meter on out; live redraws one line, as a terminal can.
func watch(out io.Writer, live bool) *meter {
	m := &meter{out: out, live: live, begin: time.Now(), done: make(chan struct{})}
	m.idle.Go(m.run)
	return m
}

func (m *meter) tell(p compare.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = p
}

func (m *meter) stop() {
	close(m.done)
	m.idle.Wait()
}

func (m *meter) run() {
	pause := repeat
	if m.live {
		pause = redraw
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	shown := 0
	for {
		select {
		case <-m.done:
			if shown > 0 && m.live {
				fmt.Fprintf(m.out, "\r%s\r", strings.Repeat(" ", shown))
			}
			return
		case <-timer.C:
		}
		timer.Reset(pause)
		m.mu.Lock()
		line := clean(progressLine(m.last, time.Since(m.begin), m.live))
		m.mu.Unlock()
		if !m.live {
			fmt.Fprintln(m.out, line)
			continue
		}
		width := utf8.RuneCountInString(line)
		fmt.Fprintf(m.out, "\r%s%s", line, strings.Repeat(" ", max(shown-width, 0)))
		shown = width
	}
}

// progressLine is one line of progress. The total is an estimate, so nothing is
// said to be done before it is.
func progressLine(p compare.Progress, took time.Duration, bar bool) string {
	part := 0.0
	if p.Total > 0 {
		part = min(float64(p.Rows)/float64(p.Total), 0.99)
	}
	speed := float64(p.Rows) / max(took.Seconds(), 0.001)
	line := fmt.Sprintf("%2.0f%%  %s rows, %s/s", 100*part, number(p.Rows), number(int64(speed)))
	if bar {
		const width = 24
		full := int(part * width)
		line = "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + line
	}
	if left := p.Total - p.Rows; left > 0 && speed > 1 {
		line += ", " + time.Duration(float64(left)/speed*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if p.Differing > 0 {
		line += ", " + number(p.Differing) + " differ"
	}
	if p.Table != "" {
		line += "  " + p.Table
	}
	return line
}
