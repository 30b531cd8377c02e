package show

import (
	"fmt"
	"io"
	"sync"
	"time"

	"healer/internal/words"
)

// ratesEvery is how often plain lines tell the writers' rates.
const ratesEvery = 5 * time.Second

// Plain writes a line for each update that a reader of a log wants, with the
// time from the start of the run.
type Plain struct {
	w io.Writer

	mu     sync.Mutex
	closed bool
	rates  Stamp
	kill   Stamp
	node   string
	life   map[string]Life
}

// NewPlain presents on w.
func NewPlain(w io.Writer) *Plain { return &Plain{w: w, life: map[string]Life{}} }

// Close implements Presenter: what is shown later is not written.
func (p *Plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// Show implements Presenter.
func (p *Plain) Show(u Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	switch u := u.(type) {
	case Step:
		p.step(u)
	case Note:
		p.line(u.At, "%s", u.Text)
	case Cut:
		state := "is cut"
		if u.Whole {
			state = "is whole again"
		}
		p.line(u.At, "link %s → %s %s", u.From, u.To, state)
	case Killed:
		p.kill, p.node = u.At, u.Node
		p.line(u.At, "KILL %s: its server and its agent are gone", u.Node)
	case Life:
		p.lives(u)
	case Happened:
		p.event(u)
	case Rates:
		p.rate(u)
	case Result:
		for _, l := range u.Lines {
			p.line(u.At, "%s", l)
		}
	}
}

func (p *Plain) step(s Step) {
	switch {
	case s.Err != nil:
		p.line(s.At, "FAILED after %s: %s", words.Duration(s.Took), s.Err)
	case s.Ended:
		p.line(s.At, "  done in %s: %s", words.Duration(s.Took), s.What)
	default:
		p.line(s.At, "%s", s.What)
	}
}

// lives tells only what changed, and nothing before the node has been up.
func (p *Plain) lives(l Life) {
	was, seen := p.life[l.Node]
	p.life[l.Node] = l
	if !seen || was.Server == l.Server && was.Agent == l.Agent {
		return
	}
	p.line(l.At, "%s: server %s, agent %s", l.Node, upDown(l.Server), upDown(l.Agent))
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func (p *Plain) event(h Happened) {
	since := ""
	if p.node != "" {
		since = fmt.Sprintf(" [kill +%s]", words.Duration(time.Duration(h.At-p.kill)))
	}
	text := words.Of(h.Event)
	if text != "" {
		text = ": " + text
	}
	p.line(h.At, "event %s %s%s%s", h.Event.Kind(), h.Event.Subject, since, text)
}

func (p *Plain) rate(r Rates) {
	if p.rates != 0 && time.Duration(r.At-p.rates) < ratesEvery {
		return
	}
	p.rates = r.At
	text := "writes:"
	for _, n := range r.Nodes {
		text += fmt.Sprintf("  %s %.0f/s (%d)", n.Node, n.PerSecond, n.Total)
	}
	p.line(r.At, "%s", text)
}

func (p *Plain) line(at Stamp, format string, args ...any) {
	_, _ = fmt.Fprintf(p.w, "%s  %s\n", at.Clock(), fmt.Sprintf(format, args...))
}
