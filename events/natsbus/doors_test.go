package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/eventstest"
	"healer/internal/tlsfile"
	"healer/internal/tlsfile/tlstest"
	"healer/topology"
)

// guarded prepares servers with the doors.
func guarded(t *testing.T, n int, doors func(i int) Doors) *mesh {
	t.Helper()
	m, err := newMesh(t.TempDir(), n)
	check(t, err)
	t.Cleanup(func() { check(t, m.stopAll()) })
	for i := range m.opts {
		m.opts[i].Cluster, m.opts[i].Doors = "app", doors(i)
	}
	return m
}

func certified(t *testing.T, a *tlstest.Authority, ca string) *tlsfile.Source {
	t.Helper()
	cert, key := a.Both()
	src, err := tlsfile.Open(tlsfile.Files{Cert: cert, Key: key, CA: ca})
	check(t, err)
	return src
}

// tries connects and says what came of it, be the machine as busy as it may.
func tries(t *testing.T, url string, a Access) (said error) {
	t.Helper()
	opts, err := a.options()
	check(t, err)
	until(t, "the server says something", func() bool {
		var nc *nats.Conn
		if nc, said = nats.Connect(url, append(opts, nats.Timeout(patience))...); said == nil {
			nc.Close()
		}
		var late net.Error
		return !errors.Is(said, nats.ErrTimeout) && (!errors.As(said, &late) || !late.Timeout())
	})
	return said
}

// Three servers with certificates of one authority make a cluster; nobody comes in
// without one, as a client or as a server, and nobody is taken in by another server.
func TestEmbeddedTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := tlstest.New(t), tlstest.New(t)
	m := guarded(t, 3, func(int) Doors { return Doors{TLS: certified(t, ours, ours.CA)} })
	check(t, m.startAll())
	cert, key := ours.Client()
	known := Access{CAFile: ours.CA, CertFile: cert, KeyFile: key}
	o := busOptions(t, m, 0, "app")
	o.URLs, o.Access = []string{"tls://" + m.opts[0].Client}, known
	b := connect(t, o)
	until(t, "three replicas", func() bool { return b.Status().StreamReady && b.Status().Replicas == 3 })
	publish(t, b, eventstest.Make(t, "app", events.NodeFailed, "over a socket"))
	inside := busOptions(t, m, 1, "app")
	inside.InProcess, inside.URLs = m.servers[1], nil
	inner := ready(t, connect(t, inside))
	publish(t, inner, eventstest.Make(t, "app", events.NodeFailed, "inside"))
	drained(t, b)
	drained(t, inner)

	strangerCert, strangerKey := theirs.Client()
	url := "nats://" + m.opts[2].Client
	for name, c := range map[string]struct {
		a    Access
		want string
	}{
		"without the authority":      {Access{CertFile: cert, KeyFile: key}, "certificate signed by unknown authority"},
		"with another authority":     {Access{CAFile: theirs.CA, CertFile: cert, KeyFile: key}, "certificate signed by unknown authority"},
		"without a certificate":      {Access{CAFile: ours.CA}, "Authorization Violation"},
		"with another's certificate": {Access{CAFile: ours.CA, CertFile: strangerCert, KeyFile: strangerKey}, "Authorization Violation"},
		"with nothing":               {Access{}, "unknown authority"},
	} {
		if err := tries(t, url, c.a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a client %s: %v", name, err)
		}
	}
	for name, src := range map[string]*tlsfile.Source{
		"no certificate": nil, "another's certificate": certified(t, theirs, ours.CA),
	} {
		stranger := guarded(t, 1, func(int) Doors { return Doors{TLS: src} })
		stranger.opts[0].Node, stranger.opts[0].Routes = "n9", []string{m.opts[2].Route}
		before := m.servers[2].Refused()[refusedTLS]
		check(t, stranger.start(0))
		until(t, "the stranger is turned away", func() bool { return m.servers[2].Refused()[refusedTLS] > before })
		if got := stranger.servers[0].ns.NumRoutes(); got != 0 {
			t.Errorf("a server with %s has %d routes", name, got)
		}
		check(t, stranger.stopAll())
	}
	if got := m.servers[2].Refused(); got[refusedLogin] < 2 {
		t.Errorf("refused %v: want two logins at least", got)
	}
	if got := streamState(t, inner); got.Msgs != 2 {
		t.Errorf("the stream has %d events: want 2", got.Msgs)
	}
}

func streamState(t *testing.T, b *Bus) jetstream.StreamState {
	t.Helper()
	var out jetstream.StreamState
	until(t, "the stream tells", func() bool {
		st, err := b.js.Stream(t.Context(), events.Stream("app"))
		if err != nil {
			return false
		}
		out = st.CachedInfo().State
		return true
	})
	return out
}

// A token lets agents and their servers in, a reader's opens the events for reading and
// nothing else, and both may be replaced without a restart.
func TestEmbeddedTokens(t *testing.T) {
	t.Parallel()
	ours := tlstest.New(t)
	token, reader := secretIn(t, "secret\n"), secretIn(t, "look\n")
	m := guarded(t, 2, func(int) Doors {
		return Doors{TokenFile: token, ReaderTokenFile: reader, Shared: []string{"hook"}, TLS: certified(t, ours, ours.CA)}
	})
	check(t, m.startAll())
	url := "tls://" + m.opts[0].Client
	o := busOptions(t, m, 0, "app")
	o.URLs, o.Access = []string{url}, Access{TokenFile: token, CAFile: ours.CA}
	agent := connect(t, o)
	until(t, "two replicas", func() bool { return agent.Status().StreamReady && agent.Status().Replicas == 2 })
	var s shares
	share(t, agent, Sharing{Name: "hook", Kinds: ">", Limit: patience, Tries: 1, Parallel: 1}, s.by("agent", fine))
	all := eventstest.MakeN(t, "app", events.RecoveryStep, 3)
	publish(t, agent, all[:2]...)
	drained(t, agent)
	until(t, "the hook has run", func() bool { return s.len() == 2 })

	c, err := Dial(t.Context(), DialOptions{Cluster: "app", URLs: []string{url}, Log: testLog(), Access: Access{TokenFile: reader, CAFile: ours.CA}})
	check(t, err)
	t.Cleanup(c.Close)
	check(t, c.AwaitConnection(t.Context()))
	var in eventstest.Inbox
	check(t, c.Past(t.Context(), events.Filter{From: events.FromStart()}, func(e events.Event) error { in.Put(e); return nil }))
	if got := ids(in.Events()); len(got) != 2 {
		t.Errorf("the reader reads %v", got)
	}
	readerChangesNothing(t, c, m.servers[0])
	publish(t, agent, all[2])
	drained(t, agent)
	until(t, "the hook still runs", func() bool { return s.len() == 3 })
	if got := streamState(t, agent); got.Msgs != 3 {
		t.Errorf("the stream has %d events: want 3", got.Msgs)
	}

	cert, key := ours.Client()
	for name, a := range map[string]Access{
		"nothing":               {CAFile: ours.CA},
		"a wrong token":         {CAFile: ours.CA, TokenFile: secretIn(t, "guess")},
		"a certificate instead": {CAFile: ours.CA, CertFile: cert, KeyFile: key},
	} {
		before := m.servers[0].Refused()[refusedLogin]
		if err := tries(t, url, a); !errors.Is(err, nats.ErrAuthorization) || m.servers[0].Refused()[refusedLogin] <= before {
			t.Errorf("%s: %v, refused %v", name, err, m.servers[0].Refused())
		}
	}
	stranger := guarded(t, 1, func(int) Doors { return Doors{TokenFile: secretIn(t, "guess"), TLS: certified(t, ours, ours.CA)} })
	stranger.opts[0].Node, stranger.opts[0].Routes = "n9", []string{m.opts[0].Route}
	before := m.servers[0].Refused()[refusedLogin]
	check(t, stranger.start(0))
	until(t, "a server with another token is turned away", func() bool { return m.servers[0].Refused()[refusedLogin] > before })

	check(t, os.WriteFile(reader, []byte("look again"), 0o600))
	if err := tries(t, url, Access{CAFile: ours.CA, TokenFile: secretIn(t, "look")}); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the old token: %v", err)
	}
	check(t, tries(t, url, Access{CAFile: ours.CA, TokenFile: reader}))
}

// readerChangesNothing tries what a reader must not, in each way that JetStream has.
func readerChangesNothing(t *testing.T, c *Client, s *Server) {
	t.Helper()
	raw, err := eventstest.Make(t, "app", events.NodeFailed, "forged").Encode()
	check(t, err)
	stream := events.Stream("app")
	ask := func(subject string, body []byte) error {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		res, err := c.nc.RequestWithContext(ctx, subject, body)
		if err != nil {
			return err
		}
		var said struct {
			Error *struct{ Description string } `json:"error"`
		}
		if err := json.Unmarshal(res.Data, &said); err != nil || said.Error == nil {
			return err
		}
		return errors.New(said.Error.Description)
	}
	before := s.Refused()[refusedPermission]
	asked := uint64(0)
	for _, subject := range []string{
		events.Subject("app", events.NodeFailed), "$JS.API.STREAM.DELETE." + stream, "$JS.API.STREAM.PURGE." + stream,
		"$JS.API.STREAM.MSG.DELETE." + stream, "$JS.API.STREAM.UPDATE." + stream, "$JS.API.CONSUMER.DELETE." + stream + ".hook",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".hook", "$JS.API.CONSUMER.CREATE." + stream + ".hook", "$JS.API.CONSUMER.CREATE." + stream + ".hook.healer.>",
		"$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".x", "$JS.API.STREAM.CREATE.OTHER",
	} {
		asked++
		if err := ask(subject, raw); err == nil {
			t.Errorf("a reader asks %s, and gets it", subject)
		}
	}
	until(t, "all of it is counted", func() bool { return s.Refused()[refusedPermission] >= before+asked })
	// What is delivered to a reader changes nothing either, wherever it is to go: that
	// the stream has kept its events is seen at the end.
	for name, to := range map[string]string{
		"forge": events.Subject("app", events.NodeFailed), "delete": "$JS.API.STREAM.DELETE." + stream, "purge": "$JS.API.STREAM.PURGE." + stream,
	} {
		body := `{"stream_name": "` + stream + `", "config": {"deliver_subject": "` + to + `", "deliver_policy": "all", "ack_policy": "none", "name": "` + name + `"}}`
		if err := ask("$JS.API.CONSUMER.CREATE."+stream+"."+name, []byte(body)); err == nil && name == "forge" {
			t.Error("a reader has events delivered as new ones")
		}
	}
}

// TestDoorsAreChecked: what cannot be used keeps the server from starting.
func TestDoorsAreChecked(t *testing.T) {
	for name, d := range map[string]Doors{
		"no token":        {TokenFile: "/no/such/file"},
		"no reader token": {TokenFile: secretIn(t, "a"), ReaderTokenFile: "/no/such/file"},
	} {
		m := guarded(t, 1, func(int) Doors { return d })
		if f, ok := errors.AsType[*topology.Fault](m.start(0)); !ok || f.Code != "nats_access" || !strings.Contains(f.Error(), "/no/such/file") {
			t.Errorf("%s: %v", name, f)
		}
	}
}
