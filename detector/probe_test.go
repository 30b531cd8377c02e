package detector

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"healer/topology"
)

// fakeServer answers as its function says and counts.
type fakeServer struct {
	connect            func(ctx context.Context) error
	ping               func(ctx context.Context) error
	wait               func(ctx context.Context) error
	inFlight, most     atomic.Int32
	connects, sessions atomic.Int32
}

func (f *fakeServer) enter() func() {
	f.most.Store(max(f.most.Load(), f.inFlight.Add(1)))
	return func() { f.inFlight.Add(-1) }
}

func (f *fakeServer) Connect(ctx context.Context, _ time.Duration, taken func()) (Session, error) {
	defer f.enter()()
	f.connects.Add(1)
	taken()
	if err := f.connect(ctx); err != nil {
		return nil, err
	}
	f.sessions.Add(1)
	return f, nil
}

func (f *fakeServer) Identity() topology.Identity { return life(1) }
func (f *fakeServer) Unanswered() Condition       { return Hung }
func (f *fakeServer) Close()                      { f.sessions.Add(-1) }

func (f *fakeServer) Ping(ctx context.Context) error {
	defer f.enter()()
	return f.ping(ctx)
}

func (f *fakeServer) Wait(ctx context.Context, until time.Time) error {
	defer f.enter()()
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return f.wait(ctx)
}

func idle(ctx context.Context) error { <-ctx.Done(); return nil }
func good(context.Context) error     { return nil }

func stuck(ctx context.Context) error {
	<-ctx.Done()
	return &ProbeError{Hung, ctx.Err()}
}

// found is one report with the time it came.
type found struct {
	at time.Duration
	c  Condition
}

// timing is what the expectations below go by.
var timing = Timing{ProbeInterval: 200 * time.Millisecond, ProbeTimeout: 500 * time.Millisecond, ProbeAbandon: 3 * time.Second}

// loop runs a probe loop for a while of the bubble's time.
func loop(t *testing.T, f *fakeServer, during time.Duration) []found {
	t.Helper()
	var reports []found
	begin := time.Now()
	p := newProbeLoop(f, timing, func(g Finding) {
		reports = append(reports, found{time.Since(begin), g.Condition})
	})
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	p.run(ctx)
	if n := f.sessions.Load(); n != 0 {
		t.Errorf("%d sessions were left open", n)
	}
	if n := f.most.Load(); n > 1 {
		t.Errorf("%d probes were in flight at once", n)
	}
	return reports
}

// A hung server gets few connections, all the while being reported.
func TestHungServerIsNotStormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{connect: stuck}
		reports := loop(t, f, time.Minute)
		if n := f.connects.Load(); n > 6 {
			t.Errorf("%d connections in a minute", n)
		}
		if reports[0] != (found{500 * time.Millisecond, Hung}) {
			t.Errorf("first report %+v", reports[0])
		}
		for i := 1; i < len(reports); i++ {
			if gap := reports[i].at - reports[i-1].at; gap > 700*time.Millisecond {
				t.Errorf("nothing was reported for %s", gap)
			}
		}
	})
}

// A server that wakes is seen at once: the probe that waits is answered.
func TestPendingPingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wakes := time.Now().Add(2 * time.Second)
		f := &fakeServer{connect: good, wait: idle, ping: func(ctx context.Context) error {
			select {
			case <-time.After(time.Until(wakes)):
				return nil
			case <-ctx.Done():
				return stuck(ctx)
			}
		}}
		var answered []time.Duration
		for _, r := range loop(t, f, 2100*time.Millisecond) {
			if r.c == Answered {
				answered = append(answered, r.at)
			}
		}
		if len(answered) != 2 || answered[1] != 2*time.Second {
			t.Errorf("answers at %v: want one at 0s and one at 2s", answered)
		}
		if n := f.connects.Load(); n != 1 {
			t.Errorf("%d connections: want 1", n)
		}
	})
}

// The end of an open session is followed up at once, and then named.
func TestEndOfSessionIsFollowedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dies := time.Now().Add(1050 * time.Millisecond)
		f := &fakeServer{
			ping: good,
			connect: func(context.Context) error {
				if time.Now().Before(dies) {
					return nil
				}
				return &ProbeError{Refused, errors.New("refused")}
			},
			wait: endsAt(dies),
		}
		var after []found
		for _, r := range loop(t, f, 1300*time.Millisecond) {
			if r.c != Answered {
				after = append(after, r)
			}
		}
		at := 1050 * time.Millisecond
		want := []found{{at, EOF}, {at, PostmasterGone}, {at + 200*time.Millisecond, PostmasterGone}}
		if len(after) != len(want) {
			t.Fatalf("reports %v: want %v", after, want)
		}
		for i := range want {
			if after[i] != want[i] {
				t.Errorf("report %d is %v: want %v", i, after[i], want[i])
			}
		}
	})
}

// endsAt is how a session ends whose server dies then.
func endsAt(dies time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(time.Until(dies)):
			return &ProbeError{EOF, errors.New("eof")}
		case <-ctx.Done():
			return nil
		}
	}
}

// A server that is being killed cuts off the next connections as well: it is tried
// again soon, and less and less often.
func TestConnectionsCutOffAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dies := time.Now().Add(1050 * time.Millisecond)
		f := &fakeServer{
			ping: good,
			connect: func(context.Context) error {
				switch gone := time.Since(dies); {
				case gone < 0:
					return nil
				case gone < 25*time.Millisecond:
					return &ProbeError{EOF, errors.New("cut off")}
				}
				return &ProbeError{Refused, errors.New("refused")}
			},
			wait: endsAt(dies),
		}
		var after []found
		for _, r := range loop(t, f, 1200*time.Millisecond) {
			if r.c != Answered {
				after = append(after, found{r.at - 1050*time.Millisecond, r.c})
			}
		}
		want := []found{{0, EOF}, {0, EOF}, {10 * time.Millisecond, EOF}, {30 * time.Millisecond, PostmasterGone}}
		if !slices.Equal(after, want) {
			t.Errorf("reports %v: want %v", after, want)
		}
	})
}

// A server that ends every session at once is asked at the usual pace.
func TestBriefSessionsAreNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{connect: good, ping: good, wait: func(context.Context) error {
			return &ProbeError{EOF, errors.New("eof")}
		}}
		loop(t, f, 10*time.Second)
		if n := f.connects.Load(); n > 52 {
			t.Errorf("%d connections in 10 s: want at most one each 200 ms", n)
		}
	})
}
