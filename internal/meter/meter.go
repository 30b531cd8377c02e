package meter

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/term"
)

const (
	// patience is how long something takes before it is said how far it is.
	patience = 2 * time.Second
	// redraw and repeat are the pauses between two looks: on a terminal, and where
	// each is a line of its own.
	redraw, repeat = 200 * time.Millisecond, 10 * time.Second
)

// Meter shows one line. It is safe for concurrent use.
type Meter struct {
	live  bool
	line  func(took time.Duration, bar bool) string
	begin time.Time
	done  chan struct{}
	idle  sync.WaitGroup

	mu    sync.Mutex
	out   io.Writer
	shown int
}

// Start begins to show what line says, which is asked for each look and may be empty:
// took is the time since Start, bar whether there is a terminal for a Bar. Stop ends it.
func Start(out io.Writer, line func(took time.Duration, bar bool) string) *Meter {
	return start(out, OnTerminal(out), line)
}

func start(out io.Writer, live bool, line func(time.Duration, bool) string) *Meter {
	m := &Meter{out: out, live: live, line: line, begin: time.Now(), done: make(chan struct{})}
	m.idle.Go(m.run)
	return m
}

// Stop ends the meter and takes its line away.
func (m *Meter) Stop() {
	close(m.done)
	m.idle.Wait()
}

// Write writes other text, whole lines, to where the meter is.
func (m *Meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	return m.out.Write(p)
}

func (m *Meter) run() {
	pause := repeat
	if m.live {
		pause = redraw
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-m.done:
			m.mu.Lock()
			defer m.mu.Unlock()
			m.clear()
			return
		case <-timer.C:
		}
		m.show(m.line(time.Since(m.begin), m.live))
		timer.Reset(pause)
	}
}

func (m *Meter) show(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.live && line != "":
		fmt.Fprintln(m.out, line)
	case m.live:
		width := utf8.RuneCountInString(line)
		fmt.Fprintf(m.out, "\r%s%s", line, strings.Repeat(" ", max(m.shown-width, 0)))
		m.shown = width
	}
}

// clear takes the line away.
func (m *Meter) clear() {
	if m.shown > 0 {
		fmt.Fprintf(m.out, "\r%s\r", strings.Repeat(" ", m.shown))
		m.shown = 0
	}
}

// OnTerminal reports whether what is written there is drawn on a terminal.
func OnTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// Part says how much of something is done, of what may be an estimate: so it is never all.
func Part(done, total float64, bar bool) string {
	part := 0.0
	if total > 0 {
		part = min(max(done/total, 0), 0.99)
	}
	text := fmt.Sprintf("%2.0f%%", 100*part)
	if bar {
		const width = 24
		full := int(part * width)
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "] " + text
	}
	return text
}

// Left says how long the rest takes if it goes on as it went; empty where that is not to
// be said.
func Left(done, total float64, took time.Duration) string {
	if done <= 0 || done >= total || took <= 0 {
		return ""
	}
	left := time.Duration((total - done) / done * float64(took))
	return ", " + left.Round(time.Second).String() + " left"
}
