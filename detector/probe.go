package detector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// probeLoop watches one node through one session at a time. There is never
// more than one probe in flight: one that gets no answer is reported as
// unanswered over and over while it goes on waiting, so a hung server is not
// loaded with further connections, and its first answer is seen at once.
type probeLoop struct {
	prober  Prober
	timing  Timing
	report  func(Finding)
	kinds   table
	silence silence
	// epoch is the time from which the probes are due at whole intervals.
	epoch time.Time

	// mu guards what nudge touches.
	mu    sync.Mutex
	asked bool
	// probed is when the last probe began; rouse ends a pause between two.
	probed time.Time
	rouse  context.CancelFunc
}

func newProbeLoop(prober Prober, timing Timing, report func(Finding)) *probeLoop {
	return &probeLoop{
		prober: prober, timing: timing, report: report, kinds: newTable(), silence: silence{tick: timing.tick()}, epoch: time.Now(),
	}
}

// tick is the time between two looks at a probe that waits.
func (t Timing) tick() time.Duration { return max(t.ProbeInterval/2, time.Millisecond) }

// silence measures for how long a server has given no answer, by the time in
// which this process ran. A look that comes late means that the process was
// stalled meanwhile, and may have an answer in its hands that it has not seen: the
// time counts as one tick.
type silence struct {
	tick time.Duration
	last time.Time // zero while the server answers
	sum  time.Duration
}

// begin starts the clock unless it runs.
func (s *silence) begin(now time.Time) {
	if s.last.IsZero() {
		s.last, s.sum = now, 0
	}
}

// pass counts the time since the last look and reports whether the process was
// stalled in it.
func (s *silence) pass(now time.Time) (passed time.Duration, stalled bool) {
	if s.last.IsZero() {
		return 0, false
	}
	passed = now.Sub(s.last)
	if stalled = passed > 2*s.tick; stalled {
		passed = s.tick
	}
	s.last, s.sum = now, s.sum+passed
	return passed, stalled
}

func (s *silence) end() { s.last, s.sum = time.Time{}, 0 }

// lookAgain is how soon a server is tried again that ended a session and then cut off
// the next connection; twice as long each time, up to the interval.
const lookAgain = 10 * time.Millisecond

// run probes until ctx ends.
func (p *probeLoop) run(ctx context.Context) {
	abandon, dial := p.timing.ProbeAbandon, p.timing.firstDial()
	lost := false  // an open session has ended and no new one was opened yet
	brief := false // the last session ended before the next probe was due
	ends := 0      // connections cut off one after the other since a session ended
	for ctx.Err() == nil {
		began := p.begin()
		session, err := p.connect(ctx, abandon, dial)
		if ctx.Err() != nil {
			closeSession(session)
			return
		}
		if err != nil {
			f := findingOf(err)
			if f.Condition == Refused && lost {
				f.Condition = PostmasterGone
			}
			abandon, dial = p.patience(abandon, dial, f.Condition)
			p.tell(f)
			left := p.timing.ProbeInterval - time.Since(began)
			if lost && f.Condition == EOF {
				// A server that is being killed takes connections until its last
				// process is gone.
				left = min(left, lookAgain<<min(ends, 10))
				ends++
			}
			p.pause(ctx, left)
			continue
		}
		ends = 0
		abandon, dial, lost = p.timing.ProbeAbandon, p.timing.firstDial(), true
		p.converse(ctx, session)
		session.Close()
		// Straight to the next connect: whether the server is gone or only
		// the session shows there, and the sooner the better. But a server
		// that ends one session after another is not to be stormed.
		left := p.timing.ProbeInterval - time.Since(began)
		if brief {
			p.pause(ctx, left)
		}
		brief = left > 0
	}
}

func closeSession(s Session) {
	if s != nil {
		s.Close()
	}
}

// firstDial is how long the first dialing may take: well within the probe's
// time, so that the kernel's own slow repetitions are not what is waited for.
func (t Timing) firstDial() time.Duration { return t.ProbeTimeout * 4 / 5 }

// patience is how long the next unanswered connect is kept, and how long its
// dialing: a host may be far away.
func (p *probeLoop) patience(abandon, dial time.Duration, c Condition) (nextAbandon, nextDial time.Duration) {
	t := p.timing
	switch c {
	case Hung:
		return min(2*abandon, 10*t.ProbeAbandon), dial
	case HostSilent:
		return t.ProbeAbandon, min(2*dial, t.ProbeAbandon)
	default:
		return t.ProbeAbandon, t.firstDial()
	}
}

// connect opens a session, and reports the host as silent or the server as hung
// meanwhile if it does not answer in time.
func (p *probeLoop) connect(ctx context.Context, abandon, dial time.Duration) (Session, error) {
	type result struct {
		s   Session
		err error
	}
	var taken atomic.Bool
	unanswered := func() Condition {
		if taken.Load() {
			return Hung
		}
		return HostSilent
	}
	r := pending(ctx, p, abandon, unanswered, func(ctx context.Context) result {
		s, err := p.prober.Connect(ctx, dial, func() { taken.Store(true) })
		return result{s, err}
	})
	return r.s, r.err
}

// converse pings over the session until it ends, and reports why it did.
func (p *probeLoop) converse(ctx context.Context, s Session) {
	id := s.Identity()
	for ctx.Err() == nil {
		p.tell(Finding{Condition: Answered, Identity: id})
		err := p.idle(ctx, s)
		if err == nil && ctx.Err() == nil {
			p.begin()
			err = pending(ctx, p, p.timing.ProbeAbandon, s.Unanswered, s.Ping)
		}
		if err != nil && ctx.Err() == nil {
			f := findingOf(err)
			if f.Condition == Hung {
				f.Condition = s.Unanswered()
			}
			p.tell(f)
			return
		}
	}
}

// idle watches the session until the next probe is due. The probes of all nodes are
// due at the same moments, so that an idle agent wakes once for all of them.
func (p *probeLoop) idle(ctx context.Context, s Session) error {
	ctx, cancel := p.rest(ctx)
	defer cancel()
	now, every := time.Now(), p.timing.ProbeInterval
	due := now.Add(every - now.Sub(p.epoch)%every)
	if due.Sub(now) < every/2 {
		due = due.Add(every)
	}
	return s.Wait(ctx, due)
}

// rest makes the context of a pause, which a nudge ends.
func (p *probeLoop) rest(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	p.rouse = cancel
	p.mu.Unlock()
	return ctx, cancel
}

// begin notes that a probe begins.
func (p *probeLoop) begin() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probed, p.rouse = time.Now(), nil
	return p.probed
}

// nudge asks for a probe at once, because another member accuses the node. Its
// outcome is told at once even when it is what it was. A probe that waits already,
// or that began only just now, will do.
func (p *probeLoop) nudge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	if p.rouse != nil && time.Since(p.probed) >= p.timing.ProbeInterval/4 {
		p.rouse()
	}
}

// tell reports a finding, with the silence up to now.
func (p *probeLoop) tell(f Finding) {
	switch p.kinds.kind(Evidence{Condition: f.Condition}) {
	case Silent:
		now := time.Now()
		p.silence.begin(now)
		p.silence.pass(now)
		f.Silent = p.silence.sum
	case Refuting, Neutral:
		p.silence.end()
	case Positive:
	}
	p.mu.Lock()
	f.Asked, p.asked = p.asked, false
	p.mu.Unlock()
	p.report(f)
}

// pending runs op, which must end when its context does, for at most abandon.
// From the probe timeout on it reports at every tick that there is no answer. It
// returns only when op has: nothing is left behind.
func pending[T any](ctx context.Context, p *probeLoop, abandon time.Duration, unanswered func() Condition, op func(context.Context) T) T {
	ctx, cancel := context.WithTimeout(ctx, abandon)
	defer cancel()
	p.silence.begin(time.Now())
	// An answer comes well before the first tick, as a rule: only when it does not
	// is there somebody to count.
	done, ended := make(chan struct{}), make(chan struct{})
	late := time.AfterFunc(p.silence.tick, func() {
		defer close(ended)
		p.count(done, unanswered)
	})
	r := op(ctx)
	if !late.Stop() {
		close(done)
		<-ended
	}
	return r
}

// count counts the silence of a probe that waits, tick by tick, until done is
// closed, and reports it from the probe timeout on.
func (p *probeLoop) count(done <-chan struct{}, unanswered func() Condition) {
	tick := time.NewTicker(p.silence.tick)
	defer tick.Stop()
	waited := time.Duration(0)
	for {
		passed, stalled := p.silence.pass(time.Now())
		waited += passed
		select {
		case <-done:
			return
		default:
		}
		if !stalled && waited >= p.timing.ProbeTimeout {
			p.tell(Finding{Condition: unanswered(), Detail: "no answer within " + p.timing.ProbeTimeout.String()})
		}
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// pause waits for d, until a nudge, or until ctx ends.
func (p *probeLoop) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	ctx, cancel := p.rest(ctx)
	defer cancel()
	over := time.NewTimer(d)
	defer over.Stop()
	tick := time.NewTicker(p.silence.tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-tick.C:
			p.silence.pass(time.Now())
		}
	}
}
