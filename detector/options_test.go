package detector

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

type noGossip struct{}

func (noGossip) Start(context.Context, Inbox) error { return nil }
func (noGossip) Send([]Evidence, bool)              {}
func (noGossip) Tell(context.Context, string, []Evidence) error {
	return nil
}
func (noGossip) Agents() []string                       { return nil }
func (noGossip) Stop(context.Context, []Evidence) error { return nil }

func TestOptionsAreChecked(t *testing.T) {
	good := func() Options {
		return Options{
			Self: "n1", Members: []string{"n1"}, Probers: map[string]Prober{"n1": &fakeServer{}},
			Gossip: noGossip{}, Log: slog.New(slog.DiscardHandler),
		}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Options){
		"lack":             func(o *Options) { o.Gossip = nil },
		"not one of":       func(o *Options) { o.Self = "n2" },
		"no prober":        func(o *Options) { o.Members = append(o.Members, "n2") },
		"twice":            func(o *Options) { o.Members = append(o.Members, "n1") },
		"quorum":           func(o *Options) { o.Rules.Quorum = "all" },
		"evidence expires": func(o *Options) { o.Rules.EvidenceTTL = 100 * time.Millisecond },
	} {
		o := good()
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want one with %q", err, want)
		}
	}
}
