package detector

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// silentGossip carries nothing; a test speaks to its Inbox itself.
type silentGossip struct{ in atomic.Pointer[Inbox] }

func (g *silentGossip) Start(_ context.Context, in Inbox) error        { g.in.Store(&in); return nil }
func (g *silentGossip) Send([]Evidence, bool)                          {}
func (g *silentGossip) Tell(context.Context, string, []Evidence) error { return nil }
func (g *silentGossip) Agents() []string                               { return []string{"n1", "n2", "n3"} }
func (g *silentGossip) Stop(context.Context, []Evidence) error         { return nil }

// An agent that was stopped for a while reads, first of all when it goes on, what
// had waited in its sockets: that n3 was gone then. It fails nobody for that, and
// judges as before once it has listened.
func TestResumeAfterPause(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The agent stands still: its clock jumps, its timers do not.
				var slept atomic.Int64
				var down atomic.Bool
				server := func() *fakeServer {
					up := func(context.Context) error {
						if down.Load() {
							return &ProbeError{Refused, context.Canceled}
						}
						return nil
					}
					return &fakeServer{connect: up, ping: up, wait: idle}
				}
				g := &silentGossip{}
				d, err := New(Options{
					Self: "n1", Members: []string{"n1", "n2", "n3"},
					Probers: map[string]Prober{"n1": server(), "n2": server(), "n3": server()},
					Gossip:  g, Log: slog.New(slog.DiscardHandler),
					Now: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) },
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				var failed []Verdict
				go func() {
					for v := range d.Watch(context.WithoutCancel(t.Context())) {
						if v.Life == LifeFailed {
							mu.Lock()
							failed = append(failed, v)
							mu.Unlock()
						}
					}
				}()
				seq := uint64(0)
				say := func(c Condition, subjects ...string) {
					for _, o := range []string{"n2", "n3"} {
						var es []Evidence
						for _, s := range subjects {
							seq++
							es = append(es, Evidence{Observer: o, Subject: s, Seq: seq, Condition: c, Identity: life(1)})
						}
						(*g.in.Load()).Receive(o, es)
					}
				}
				live := func(until time.Duration, c Condition) {
					for end := time.Now().Add(until); time.Now().Before(end); {
						say(Answered, "n1", "n2")
						say(c, "n3")
						time.Sleep(200 * time.Millisecond)
					}
				}
				live(time.Second, Answered)
				synctest.Wait()

				slept.Add(int64(pause))
				say(Refused, "n1", "n2", "n3") // what had waited in the sockets
				synctest.Wait()
				live(3*time.Second, Answered)
				synctest.Wait()
				mu.Lock()
				for _, v := range failed {
					t.Errorf("after a pause of %s: %s %s: %s", pause, v.Node, v.Life, v.Reason)
				}
				mu.Unlock()
				for _, v := range d.Verdicts() {
					if v.Life != LifeUp {
						t.Errorf("%s is %s: %s", v.Node, v.Life, v.Reason)
					}
				}

				down.Store(true)
				live(3*time.Second, Refused)
				synctest.Wait()
				if v := d.Verdicts()[2]; v.Life != LifeFailed {
					t.Errorf("a node that is gone is %s: %s", v.Life, v.Reason)
				}
				if err := d.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
