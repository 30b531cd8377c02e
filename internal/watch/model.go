package watch

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"healer/api"
	"healer/events"
	"healer/internal/draw"
)

// The panels, in the order in which tab goes through them.
const (
	nodesPanel = iota
	progressPanel
	healingPanel
	slotsPanel
	eventsPanel
	panelCount
)

// keptEvents bounds what the view remembers.
const keptEvents = 500

// reading is what the agents said when they were last asked.
type reading struct {
	at time.Time
	// status is that of the first agent that answered; nil when none did.
	status *api.Status
	// silent are the agents that did not.
	silent []string
}

// happened is an event as it came over NATS.
type happened struct{ event events.Event }

// busState says what keeps the events away; empty when they come.
type busState struct{ problem string }

// model is everything that the view shows. It changes only by Update.
type model struct {
	cluster string
	start   time.Time
	now     time.Time
	// poll asks the agents once more; nil in tests of the view.
	poll func() tea.Cmd

	width, height int
	reading       reading
	events        []events.Event
	plans         draw.Plans
	bus           string

	focus  int
	scroll [panelCount]int
	help   bool
	// held are the readings and events that have come since the view was paused.
	paused bool
	held   []tea.Msg
}

type clock time.Time

// redraw is how often the spinner and the ages move.
const redraw = 250 * time.Millisecond

func tick() tea.Cmd { return tea.Tick(redraw, func(t time.Time) tea.Msg { return clock(t) }) }

// again says that the agents are to be asked now.
type again struct{}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return tea.Batch(tick(), m.poll()) }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case clock:
		m.now = time.Time(msg)
		return m, tick()
	case again:
		return m, m.poll()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	default:
		if m.paused {
			m.hold(msg)
		} else {
			m.learn(msg)
		}
	}
	return m, nil
}

// hold keeps what has come for later: all events, and the newest of the rest.
func (m *model) hold(msg tea.Msg) {
	if _, is := msg.(reading); is {
		m.held = slices.DeleteFunc(m.held, func(o tea.Msg) bool { _, is := o.(reading); return is })
	}
	m.held = append(m.held, msg)
	m.held = draw.Tail(m.held, 2*keptEvents)
}

func (m *model) learn(msg tea.Msg) {
	switch msg := msg.(type) {
	case reading:
		if msg.status == nil {
			msg.status = m.reading.status // the last picture stays, with its age
		}
		m.reading = msg
	case happened:
		m.bus = ""
		known := func(e events.Event) bool { return e.ID == msg.event.ID }
		if msg.event.Kind() == events.JournalEntry || slices.ContainsFunc(m.events, known) {
			return
		}
		m.plans.Take(msg.event)
		m.events = draw.Tail(append(m.events, msg.event), keptEvents)
		if m.scroll[eventsPanel] > 0 {
			m.scroll[eventsPanel]++ // what is looked at stays where it is
		}
	case busState:
		m.bus = msg.problem
	}
}

// press is what a key does.
func (m *model) press(key string) tea.Cmd {
	if m.help && key != "ctrl+c" {
		m.help = false // any key closes it
		return nil
	}
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "?", "h":
		m.help = true
	case "p", "space":
		m.pause()
	case "tab", "right", "l":
		m.focus = (m.focus + 1) % panelCount
	case "shift+tab", "left":
		m.focus = (m.focus + panelCount - 1) % panelCount
	case "up", "k":
		m.move(1)
	case "down", "j":
		m.move(-1)
	case "pgup":
		m.move(10)
	case "pgdown":
		m.move(-10)
	case "home", "g":
		m.scroll[m.focus] = 0
	}
	return nil
}

// move scrolls the panel in focus: events away from the newest, the others from their
// beginning. The view does not go past the end.
func (m *model) move(up int) {
	if m.focus != eventsPanel {
		up = -up
	}
	m.scroll[m.focus] = max(0, m.scroll[m.focus]+up)
}

func (m *model) pause() {
	m.paused = !m.paused
	if m.paused {
		return
	}
	for _, msg := range m.held {
		m.learn(msg)
	}
	m.held = nil
}

// name is the cluster's, out of the file or as an agent says it.
func (m *model) name() string {
	if m.cluster == "" && m.reading.status != nil {
		return m.reading.status.Cluster
	}
	return m.cluster
}

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.WindowTitle = "healer watch " + draw.Line(m.name())
	return v
}
