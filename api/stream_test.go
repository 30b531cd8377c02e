package api_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/events"
)

// told is an event of a kind at a time.
func told(t *testing.T, kind events.Kind, at time.Time) events.Event {
	t.Helper()
	e, err := events.New(events.Fact{Cluster: "app", Kind: kind, Node: "n3", Detail: []string{at.String()}}, "n1", at, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What a reader asks for reaches the bus, and what several patterns select is sorted
// out here.
func TestEventsAsked(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := told(t, events.NodeFailed, at)
	for name, c := range map[string]struct {
		query, last string
		kinds       string
		from        time.Time
		want        []events.Kind
	}{
		"everything": {want: []events.Kind{events.NodeFailed, events.RecoveryStep}},
		"one kind":   {query: "?kinds=node.*", kinds: "node.*", want: []events.Kind{events.NodeFailed, events.RecoveryStep}},
		"several":    {query: "?kinds=node.returned,recovery.*&kinds=slot.*", want: []events.Kind{events.RecoveryStep}},
		"journal":    {query: "?kinds=node.failed,journal.entry", kinds: ">", want: []events.Kind{events.NodeFailed}},
		"from": {
			query: "?from=2026-01-02T03:00:00Z", from: at.Add(-4*time.Minute - 5*time.Second),
			want: []events.Kind{events.NodeFailed, events.RecoveryStep},
		},
		"again": {
			query: "?from=all", last: "2026-01-02T03:04:05Z/" + known.ID, from: at.Add(-time.Minute),
			want: []events.Kind{events.RecoveryStep},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &feed{joined: make(chan chan<- events.Event, 1)}
			srv := serve(t, api.Options{Source: &source{}, Events: f})
			r := openStream(t, srv, c.query, c.last)
			readBlock(t, r)
			out := <-f.joined
			out <- known
			out <- told(t, events.RecoveryStep, at.Add(time.Second))
			close(out)
			var got []events.Kind
			for {
				block := readBlock(t, r)
				if strings.HasPrefix(block, ":") {
					break
				}
				kind, _, _ := strings.Cut(strings.TrimPrefix(block, "event: "), "\n")
				got = append(got, events.Kind(kind))
			}
			from, replay := f.asked[0].From.Replay()
			if f.asked[0].Kinds != c.kinds || !from.Equal(c.from) || replay != !c.from.IsZero() {
				t.Errorf("asked for %+v", f.asked[0])
			}
			if len(got) != len(c.want) || got[0] != c.want[0] {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A stream says that it is there, and outlasts the time that a request has to come.
func TestEventsStay(t *testing.T) {
	f := &feed{joined: make(chan chan<- events.Event, 1)}
	srv, err := api.New(api.Options{Addr: "127.0.0.1:0", Source: &source{}, Events: f, KeepAlive: 10 * time.Millisecond, Log: logTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	api.Hasten(srv, 50*time.Millisecond)
	begin(t, srv)
	began := time.Now()
	r := openStream(t, srv, "", "")
	readBlock(t, r)
	for time.Since(began) < 150*time.Millisecond {
		if got := readBlock(t, r); got != ": still here\n" {
			t.Fatalf("got %q", got)
		}
	}
	out := <-f.joined
	out <- told(t, events.NodeFailed, began)
	for {
		if got := readBlock(t, r); strings.HasPrefix(got, "event: node.failed\n") {
			return
		}
	}
}

// FollowEvents hands over what the stream has, and says why it ends.
func TestFollowEvents(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := &feed{joined: make(chan chan<- events.Event, 1)}
	srv := serve(t, api.Options{Source: &source{}, Events: f})
	go func() {
		out := <-f.joined
		out <- told(t, events.NodeFailed, at)
		out <- told(t, events.RecoveryStep, at.Add(time.Second))
		close(out)
	}()
	var got []events.Kind
	connected := 0
	err := api.FollowEvents(t.Context(), http.DefaultClient, srv.Addr(), at.Add(-time.Hour), func() { connected++ }, func(e events.Event) { got = append(got, e.Kind()) })
	if err == nil || !strings.Contains(err.Error(), "broke off") || connected != 1 {
		t.Errorf("connected %d times, %v", connected, err)
	}
	if !slices.Equal(got, []events.Kind{events.NodeFailed, events.RecoveryStep}) {
		t.Errorf("got %v", got)
	}
	if from, replay := f.asked[0].From.Replay(); !replay || !from.Equal(at.Add(-time.Hour)) {
		t.Errorf("asked for %+v", f.asked[0])
	}

	deaf := serve(t, api.Options{Source: &source{}})
	err = api.FollowEvents(t.Context(), http.DefaultClient, deaf.Addr(), at, func() { connected++ }, func(events.Event) {})
	if err == nil || connected != 1 {
		t.Errorf("an agent without events: %v", err)
	}
}

// There are only so many readers; one that goes makes room.
func TestEventsBounded(t *testing.T) {
	f := &feed{joined: make(chan chan<- events.Event, api.MaxStreams+1)}
	srv := serve(t, api.Options{Source: &source{}, Events: f})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range api.MaxStreams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+srv.Addr()+"/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if code, body := get(t, srv, "/v1/events"); code != http.StatusServiceUnavailable || !strings.Contains(body, "too_many_streams") {
		t.Fatalf("one more: %d %s", code, body)
	}
	leave()
	deadline := time.Now().Add(time.Minute)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srv.Addr()+"/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no room is made")
		}
	}
}
