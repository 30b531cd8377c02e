package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"healer/api"
	"healer/control"
	"healer/internal/cli/clitest"
	"healer/internal/tlsfile"
	"healer/internal/tlsfile/tlstest"
	"healer/topology"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"healer": main})
}

// TestScript runs the command line as an operator does, against agents that
// speak the real API. Each script has the environment:
//
//	HEALTHY DEGRADED CRITICAL UNKNOWN  addresses of agents in that state
//	SILENT                             an address where nobody listens
//	STRANGER                           one that answers, and is no agent
//	OFF                                one that nobody may steer; the others
//	                                   want the token in the file TOKEN
//	SECURED                            one over TLS: ca.pem vouches for it, and for
//	                                   the operator of op.pem with op.key
//	DOOR                               an address that a proxy may listen on
//	good.yaml                          a file of three nodes: n1 silent, n2
//	                                   degraded, n3 healthy
//
// and the commands `code N prog args...`, which wants just that exit code, and
// `await FILE`, which waits until the file exists. Run with UPDATE_SCRIPTS=1 to accept new output.
func TestScript(t *testing.T) {
	t.Parallel()
	authority := tlstest.New(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Setup: func(env *testscript.Env) error { return setup(env, authority) },
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": clitest.Code, "await": await},
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// await waits until a file exists, and fails the script after a minute.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s does not come to be", args[0])
}

func setup(env *testscript.Env, authority *tlstest.Authority) error {
	for name, s := range map[string]api.Status{
		"HEALTHY": mesh(), "DEGRADED": lost(), "CRITICAL": stuck(),
		"UNKNOWN": {Cluster: "app", Agent: "n1", Mode: "auto"}, "STRANGER": {},
	} {
		addr, err := serve(env, s, func() (string, error) { return "s3cret", nil }, nil)
		if err != nil {
			return err
		}
		env.Setenv(name, addr)
	}
	off, err := serve(env, mesh(), nil, nil)
	if err != nil {
		return err
	}
	env.Setenv("OFF", off)
	if err := secured(env, authority); err != nil {
		return err
	}
	silent, err := closedPort()
	if err != nil {
		return err
	}
	env.Setenv("SILENT", silent)
	door, err := closedPort()
	if err != nil {
		return err
	}
	env.Setenv("DOOR", door)
	token := filepath.Join(env.WorkDir, "api.token")
	env.Setenv("TOKEN", token)
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		return err
	}
	good := file(silent, env.Getenv("DEGRADED"), env.Getenv("HEALTHY")) + "api: {token_file: " + token + "}\n"
	return os.WriteFile(filepath.Join(env.WorkDir, "good.yaml"), []byte(good), 0o600)
}

// file describes a cluster whose agents are at the given addresses.
func file(apis ...string) string {
	var b strings.Builder
	b.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, addr := range apis {
		fmt.Fprintf(&b, "  - name: n%d\n    dsn: host=127.0.0.1 port=%d dbname=app password=hunter2\n    gossip: 127.0.0.1:%d\n    api: %q\n",
			i+1, i+1, i+1, addr)
	}
	return b.String()
}

// source is an agent in one state for ever.
type source struct{ s api.Status }

func (s source) Status(context.Context) api.Status { return s.s }

// Recoveries are those of lost, when the agent knows of one.
func (s source) Recoveries(context.Context) ([]api.Run, error) {
	if s.s.Last == nil {
		return nil, nil
	}
	at := func(micros int) time.Time { return s.s.At.Add(time.Duration(micros) * time.Microsecond) }
	conflicts := topology.ConflictLog{}
	for i := range 3 {
		conflicts.Add(topology.RowConflict{
			Kind: "update_newer", Table: "public.t", Key: map[string]string{"id": strconv.Itoa(i), "part": "a b"}, Node: "n2",
			Remote: topology.RowWrite{Node: "n3", At: at(i)}, Local: &topology.RowWrite{Node: "n2", At: at(i + 10)},
			LSN: 0x500, Action: topology.ActionKept,
		})
	}
	conflicts.Add(topology.RowConflict{
		Kind: "row_missing", Table: "public.t", Key: map[string]string{"id": "9"}, Node: "n2",
		Remote: topology.RowWrite{Node: "n1"}, Action: topology.ActionAdded,
	})
	r := *s.s.Last
	r.Conflicts, r.ConflictCounts = conflicts.Total(), conflicts.Counts
	return []api.Run{{
		Recovery: r, Run: "RUN" + s.s.Agent, Agent: s.s.Agent, Incarnation: "abc.1",
		Survivors: []string{"n1", "n2"}, Watermark: 0x600, Listed: conflicts.Rows,
		Steps: []api.RunStep{
			{
				Kind: "subscribe", Node: "n1", Target: "n2", State: "done", Attempts: 1, Started: s.s.At,
				Duration: api.Duration(time.Second), Evidence: "600 transactions applied", Figures: map[string]int64{"transactions": 600},
			},
			{
				Kind: "verify", State: "done", Attempts: 2, Started: s.s.At.Add(time.Second), Duration: api.Duration(100 * time.Millisecond),
				Evidence: "all equal", Tries: []api.RunTry{{At: s.s.At.Add(1050 * time.Millisecond), Error: "08006: <cut>"}},
			},
		},
	}}, nil
}

// Maintenance is of nodes that the status knows; it holds from At of the status.
func (s source) Maintenance(_ context.Context, r api.MaintenanceRequest) (control.Entry, error) {
	if !slices.ContainsFunc(s.s.Nodes, func(n api.Node) bool { return n.Name == r.Node }) {
		return control.Entry{}, &topology.Fault{Code: "node_unknown", Hint: "name one of n1, n2, n3", Err: fmt.Errorf("node %q is not in the file", r.Node)}
	}
	e := control.Entry{Kind: control.Maintenance, Subject: r.Node, At: s.s.At, By: r.By, Reason: r.Reason, Ended: r.End}
	if !r.End {
		e.Until = s.s.At.Add(time.Duration(r.For))
	}
	return e, nil
}

// Steer takes anything but a recovery called nonesuch.
func (s source) Steer(_ context.Context, verb api.Verb, r api.SteerRequest) (control.Entry, string, error) {
	if r.Recovery == "nonesuch" {
		return control.Entry{}, "", &topology.Fault{
			Code: "recovery_unknown", Hint: "see `healer recovery history`", Err: fmt.Errorf("no recovery %q is planned or under way", r.Recovery),
		}
	}
	words := []string{string(verb)}
	for _, w := range []string{r.Node, r.Recovery, r.Plan} {
		if w != "" {
			words = append(words, w)
		}
	}
	if r.For > 0 {
		words = append(words, time.Duration(r.For).String())
	}
	if r.By != "" {
		words = append(words, "by", r.By)
	}
	return control.Entry{Kind: control.Kind(verb), Subject: r.Node}, strings.Join(words, " "), nil
}

func serve(env *testscript.Env, s api.Status, token api.TokenSource, over *api.TLS) (string, error) {
	srv, err := api.New(api.Options{
		Addr: "127.0.0.1:0", Source: source{s}, Recoveries: source{s}, Steering: source{s}, Token: token, TLS: over, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	if err := srv.Start(context.Background()); err != nil {
		return "", err
	}
	env.Defer(func() { _ = srv.Stop(context.Background()) })
	return srv.Addr(), nil
}

// secured starts the agent that is asked over TLS.
func secured(env *testscript.Env, authority *tlstest.Authority) error {
	cert, key := authority.Server()
	own, err := tlsfile.Open(tlsfile.Files{Cert: cert, Key: key, CA: authority.CA})
	if err != nil {
		return err
	}
	addr, err := serve(env, mesh(), nil, &api.TLS{
		Config:  own.Server(tls.RequestClientCert),
		Vouched: func(shown []*x509.Certificate) bool { return tlsfile.Vouched(shown, own.Authorities()) },
	})
	if err != nil {
		return err
	}
	env.Setenv("SECURED", addr)
	cert, key = authority.Client()
	for from, to := range map[string]string{authority.CA: "ca.pem", cert: "op.pem", key: "op.key"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(env.WorkDir, to), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// closedPort returns an address that refuses: the port was free just now and
// is given to nobody else while the kernel has others.
func closedPort() (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// mesh is a mesh of three in which nothing is wrong.
func mesh() api.Status {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := api.Status{
		Cluster: "app", Agent: "n1", Mode: "auto", Version: "v1.2.3", At: at,
		NATS: api.NATS{Connected: true, StreamReady: true},
	}
	for i, name := range []string{"n1", "n2", "n3"} {
		n := api.Node{Name: name, Life: api.LifeUp, Since: at, AgentAlive: true, Reachable: true, Ready: true, Version: 180004}
		for j, peer := range []string{"n1", "n2", "n3"} {
			if i == j {
				continue
			}
			n.Subscriptions = append(n.Subscriptions, api.Subscription{
				Name: name + "_from_" + peer, Provider: peer, Enabled: true, Worker: topology.WorkerIdle,
			})
			s.Progress = append(s.Progress, api.Progress{Origin: peer, Node: name, LSN: topology.LSN(0x1000000 * (j + 1))})
			s.Slots = append(s.Slots, api.Slot{
				Node: name, For: peer, Name: topology.RecoverySlotName("app", name, peer), Kind: topology.SlotRecovery,
				Confirmed: topology.LSN(0x900 * (i + 1)), RetainedBytes: 4096, WALStatus: "reserved",
			})
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// lost is the mesh after n3 was lost and healed.
func lost() api.Status {
	s := mesh()
	s.Agent = "n2"
	s.Nodes[2].Life, s.Nodes[2].Reachable, s.Nodes[2].AgentAlive = api.LifeFailed, false, false
	s.Nodes[2].Reason, s.Nodes[2].Problem = "connection refused", "connection refused"
	s.Nodes[0].Subscriptions[1] = api.Subscription{Name: "n1_from_n3", Provider: "n3", Fenced: true, Worker: topology.WorkerNone}
	s.Nodes[1].Subscriptions[1] = api.Subscription{Name: "n2_from_n3", Provider: "n3", Fenced: true, Worker: topology.WorkerNone}
	s.Nodes[2].Unsent = topology.Unsent{UnsentBytes: new(int64(512)), UnsentAsOf: s.At}
	s.Last = &api.Recovery{
		Unsent: s.Nodes[2].Unsent,
		ID:     "r1", Kind: "recovery", Node: "n3", State: api.RecoveryVerified, Source: "n1", Started: s.At,
		Duration: api.Duration(1234 * time.Millisecond), Transactions: 600, Repaired: 2,
	}
	return s
}

// stuck is the lost mesh with everything that an operator may have to read.
func stuck() api.Status {
	s := lost()
	s.Agent = "n1"
	for i := range s.Progress {
		if s.Progress[i].Origin == "n3" && s.Progress[i].Node == "n2" {
			s.Progress[i].Missing = 1536
		}
		if s.Progress[i].Node == "n1" && s.Progress[i].Origin == "n2" {
			s.Progress[i].LSN = 0 // nothing of it is known
		}
		if s.Progress[i].Node == "n2" && s.Progress[i].Origin == "n1" {
			s.Progress[i].Lag = new(api.Duration(7 * time.Second))
		}
	}
	s.Slots[0].AtRisk, s.Slots[0].RetainedBytes = true, 3<<30
	s.Slots[3].WALStatus = "lost"
	s.Last.State, s.Last.Error, s.Last.Hint = api.RecoveryFailed, "2 rows differ\x1b[31m", "compare them by hand"
	s.Refusals = []api.Refusal{{Subject: "n3", Reason: "identity_changed", Node: "n3", Why: "another server answers", Remedy: "rebuild n3"}}
	s.Nodes[0].Findings = []topology.Finding{{Code: "wal_level", Detail: "is replica", Remedy: "wal_level = logical", Blocking: true}}
	s.Nodes[0].Ready = false
	s.NATS = api.NATS{OutboxDepth: 7}
	s.Hooks = []api.Hook{{Name: "1:recovery.*", Done: 3}, {Name: "2:node.failed", Failed: 8, GivenUp: 1, Problem: "exit status 1"}}
	s.Gossip = api.Gossip{
		Encrypted: true, Keys: 1, KeyProblem: "/etc/healer/gossip.keys: line 2 is not base64",
		Refused:     []api.GossipRefusal{{Reason: "wrong_key", Count: 42, Last: s.At, From: "10.0.0.9"}, {Reason: "not_a_member", Count: 1, Last: s.At, Detail: "\"n9\""}},
		SecondAgent: &api.SecondAgent{Addr: "10.0.0.8:7941", Since: s.At, Seen: s.At},
	}
	return s
}
