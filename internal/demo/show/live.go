package show

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

// redraw is how often the clock and the spinner move.
const redraw = 100 * time.Millisecond

// Live draws the run on a terminal.
type Live struct {
	program *tea.Program
	model   *liveModel
	out     io.Writer
	done    chan struct{}
	err     error
	once    sync.Once
}

// LiveOptions describe the terminal.
type LiveOptions struct {
	In    io.Reader
	Out   io.Writer
	Title string
	Nodes []string
	// Start is when the run began.
	Start time.Time
	// Interrupt is called when Ctrl-C or q is pressed: a terminal in raw mode
	// sends no signal.
	Interrupt func()
}

// NewLive takes the terminal until Close.
func NewLive(o LiveOptions) *Live {
	m := &liveModel{board: newBoard(o.Title, o.Nodes), start: o.Start, interrupt: o.Interrupt, width: minWidth, height: minHeight}
	l := &Live{
		model: m, out: o.Out, done: make(chan struct{}),
		program: tea.NewProgram(m, tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithoutSignalHandler()),
	}
	go func() {
		defer close(l.done)
		_, l.err = l.program.Run()
	}()
	return l
}

// Show implements Presenter.
func (l *Live) Show(u Update) { l.program.Send(u) }

// Close gives the terminal back and leaves the last frame on it.
func (l *Live) Close() error {
	l.once.Do(func() {
		l.program.Quit()
		<-l.done
		if l.err == nil || errors.Is(l.err, tea.ErrInterrupted) {
			l.err = nil
			_, l.err = fmt.Fprintln(l.out, l.model.last())
		}
	})
	return l.err
}

// liveModel is the program's state; only the program's own goroutine uses it
// until the program has ended.
type liveModel struct {
	board         *board
	start         time.Time
	interrupt     func()
	width, height int
}

type clockTick struct{}

func tick() tea.Cmd { return tea.Tick(redraw, func(time.Time) tea.Msg { return clockTick{} }) }

// Init implements tea.Model.
func (m *liveModel) Init() tea.Cmd { return tick() }

// Update implements tea.Model.
func (m *liveModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case Update:
		m.board.apply(msg)
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if k := msg.String(); k == "ctrl+c" || k == "q" {
			m.interrupt()
		}
	case clockTick:
		return m, tick()
	}
	return m, nil
}

// View implements tea.Model.
func (m *liveModel) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.WindowTitle = "healer demo"
	return v
}

func (m *liveModel) draw() string { return m.board.frame(m.width, m.height, time.Since(m.start)) }

// last is what stays on the terminal: the last frame, with the result below it,
// which may be longer than its place in the frame.
func (m *liveModel) last() string {
	m.board.final = true
	text := m.draw()
	if r := m.board.result; r != nil {
		for _, line := range r.Lines {
			text += "\n " + line
		}
	}
	return text
}
