package detector

import (
	"context"
	"time"
)

// probeLoop watches one node through one session at a time. There is never
// more than one probe in flight: one that gets no answer is reported as
// unanswered over and over while it goes on waiting, so a hung server is not
// loaded with further connections, and its first answer is seen at once.
type probeLoop struct {
	prober Prober
	timing Timing
	report func(Finding)
}

// run probes until ctx ends.
func (p *probeLoop) run(ctx context.Context) {
	abandon := p.timing.ProbeAbandon
	lost := false  // an open session has ended and no new one was opened yet
	brief := false // the last session ended before the next probe was due
	for ctx.Err() == nil {
		began := time.Now()
		session, err := p.connect(ctx, abandon)
		if ctx.Err() != nil {
			closeSession(session)
			return
		}
		if err != nil {
			f := findingOf(err)
			if f.Condition == Refused && lost {
				f.Condition = PostmasterGone
			}
			abandon = p.patience(abandon, f.Condition)
			p.report(f)
			sleep(ctx, p.timing.ProbeInterval-time.Since(began))
			continue
		}
		abandon, lost = p.timing.ProbeAbandon, true
		p.converse(ctx, session)
		session.Close()
		// Straight to the next connect: whether the server is gone or only
		// the session shows there, and the sooner the better. But a server
		// that ends one session after another is not to be stormed.
		left := p.timing.ProbeInterval - time.Since(began)
		if brief {
			sleep(ctx, left)
		}
		brief = left > 0
	}
}

func closeSession(s Session) {
	if s != nil {
		s.Close()
	}
}

// patience is how long the next unanswered connect is kept.
func (p *probeLoop) patience(abandon time.Duration, c Condition) time.Duration {
	if c == Hung {
		return min(2*abandon, 10*p.timing.ProbeAbandon)
	}
	return p.timing.ProbeAbandon
}

// connect opens a session, and reports the server as hung meanwhile if it does
// not answer in time.
func (p *probeLoop) connect(ctx context.Context, abandon time.Duration) (Session, error) {
	type result struct {
		s   Session
		err error
	}
	r := pending(ctx, p, abandon, func(ctx context.Context) result {
		s, err := p.prober.Connect(ctx)
		return result{s, err}
	})
	return r.s, r.err
}

// converse pings over the session until it ends, and reports why it did.
func (p *probeLoop) converse(ctx context.Context, s Session) {
	id := s.Identity()
	for ctx.Err() == nil {
		p.report(Finding{Condition: Answered, Identity: id})
		idle, cancel := context.WithTimeout(ctx, p.timing.ProbeInterval)
		err := s.Wait(idle)
		cancel()
		if err == nil && ctx.Err() == nil {
			err = pending(ctx, p, p.timing.ProbeAbandon, s.Ping)
		}
		if err != nil && ctx.Err() == nil {
			p.report(findingOf(err))
			return
		}
	}
}

// pending runs op, which must end when its context does, for at most abandon.
// From the probe timeout on it reports at every interval that there is no
// answer. It returns only when op has: nothing is left behind.
func pending[T any](ctx context.Context, p *probeLoop, abandon time.Duration, op func(context.Context) T) T {
	ctx, cancel := context.WithTimeout(ctx, abandon)
	defer cancel()
	done := make(chan T, 1)
	go func() { done <- op(ctx) }()
	timer := time.NewTimer(p.timing.ProbeTimeout)
	defer timer.Stop()
	for {
		select {
		case r := <-done:
			return r
		case <-timer.C:
			p.report(Finding{Condition: Hung, Detail: "no answer within " + p.timing.ProbeTimeout.String()})
			timer.Reset(p.timing.ProbeInterval)
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
