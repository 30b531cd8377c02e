package natsbus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"healer/events"
	"healer/events/eventstest"
	"healer/topology"
)

// secretIn writes a file that nobody else may read.
func secretIn(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// external runs a NATS server as an operator would, of which Healer knows the URL.
func external(t *testing.T, set func(*server.Options)) string {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	set(opts)
	ns, err := server.NewServer(opts)
	check(t, err)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	until(t, "the server is ready", func() bool { return ns.ReadyForConnections(time.Millisecond) })
	return ns.ClientURL()
}

// seed makes a key and returns what the server has to know of it.
func seed(t *testing.T, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public, secret string) {
	t.Helper()
	key, err := create()
	check(t, err)
	public, err = key.PublicKey()
	check(t, err)
	s, err := key.Seed()
	check(t, err)
	return key, public, string(s)
}

// signed makes a server that trusts an operator's signature, and a user's
// credentials as nsc writes them.
func signed(t *testing.T, o *server.Options) (creds string) {
	t.Helper()
	operator, opub, _ := seed(t, nkeys.CreateOperator)
	account, apub, _ := seed(t, nkeys.CreateAccount)
	_, upub, useed := seed(t, nkeys.CreateUser)
	_, spub, _ := seed(t, nkeys.CreateAccount)
	oc := jwt.NewOperatorClaims(opub)
	_, err := oc.Encode(operator)
	check(t, err)
	ac := jwt.NewAccountClaims(apub)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	atoken, err := ac.Encode(operator)
	check(t, err)
	utoken, err := jwt.NewUserClaims(upub).Encode(account)
	check(t, err)
	file, err := jwt.FormatUserConfig(utoken, []byte(useed))
	check(t, err)
	resolver := &server.MemAccResolver{}
	check(t, resolver.Store(apub, atoken))
	stoken, err := jwt.NewAccountClaims(spub).Encode(operator)
	check(t, err)
	check(t, resolver.Store(spub, stoken))
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{oc}, resolver, spub
	return string(file)
}

// certificates makes a CA, and a certificate of it for the server and for the client.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &private.PublicKey, private)
	check(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return path
	}
	cert = write("cert.pem", "CERTIFICATE", der)
	return cert, cert, write("key.pem", "PRIVATE KEY", pkcs)
}

// TestAccess: an agent gets its events into a NATS that asks who it is, in each of
// the ways; without a way in, or with a wrong one, the client says so and why, and
// goes on trying.
func TestAccess(t *testing.T) {
	_, upub, useed := seed(t, nkeys.CreateUser)
	_, _, wrongSeed := seed(t, nkeys.CreateUser)
	ca, cert, key := certificates(t)
	otherCA, otherCert, otherKey := certificates(t)
	creds := ""
	for name, c := range map[string]struct {
		server       func(*server.Options)
		right, wrong func() Access
	}{
		"token": {
			func(o *server.Options) { o.Authorization = "t0ken" },
			func() Access { return Access{TokenFile: secretIn(t, "t0ken\n")} },
			func() Access { return Access{TokenFile: secretIn(t, "guess")} },
		},
		"user and password": {
			func(o *server.Options) { o.Username, o.Password = "healer", "pa55" },
			func() Access { return Access{User: "healer", PasswordFile: secretIn(t, "pa55\n")} },
			func() Access { return Access{User: "healer", PasswordFile: secretIn(t, "guess")} },
		},
		"nkey": {
			func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: upub}} },
			func() Access { return Access{NKeyFile: secretIn(t, useed+"\n")} },
			func() Access { return Access{NKeyFile: secretIn(t, wrongSeed)} },
		},
		"credentials": {
			func(o *server.Options) { creds = signed(t, o) },
			func() Access { return Access{CredsFile: secretIn(t, creds)} },
			func() Access { return Access{} },
		},
		"certificates": {
			func(o *server.Options) {
				pair, err := tls.LoadX509KeyPair(cert, key)
				check(t, err)
				text, err := os.ReadFile(ca)
				check(t, err)
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(text)
				o.TLS, o.TLSVerify = true, true
				o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
			},
			func() Access { return Access{CAFile: ca, CertFile: cert, KeyFile: key} },
			func() Access { return Access{CAFile: otherCA, CertFile: otherCert, KeyFile: otherKey} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{DialOptions: DialOptions{Cluster: "app", URLs: []string{external(t, c.server)}, Log: testLog()}, Agent: "n1", Replicas: 1, Dir: t.TempDir()}
			o.Access = c.right()
			b := ready(t, connect(t, o))
			publish(t, b, eventstest.Make(t, "app", events.NodeFailed, name))
			drained(t, b)

			o.Access, o.Dir = c.wrong(), t.TempDir()
			stranger := connect(t, o)
			until(t, "the reason is known", func() bool { return strings.Contains(stranger.Status().Problem, ": ") })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			f, ok := errors.AsType[*topology.Fault](stranger.AwaitConnection(ctx))
			if !ok || f.Hint == "" || stranger.Connected() {
				t.Errorf("a stranger was let in, or not told why: %v", f)
			}
			if want := "nats_refused"; name != "certificates" && f.Code != want {
				t.Errorf("got %v: want %s", f, want)
			}
		})
	}
}

// TestAccessIsMended: a password that is corrected in its file is used without a
// restart of anything.
func TestAccessIsMended(t *testing.T) {
	o := Options{DialOptions: DialOptions{Cluster: "app", Log: testLog()}, Agent: "n1", Replicas: 1, Dir: t.TempDir()}
	o.URLs = []string{external(t, func(o *server.Options) { o.Authorization = "new" })}
	o.Access.TokenFile = secretIn(t, "old")
	b := connect(t, o)
	until(t, "it is refused", func() bool { return strings.Contains(b.Status().Problem, "Authorization") })
	publish(t, b, eventstest.Make(t, "app", events.NodeFailed, ""))
	check(t, os.WriteFile(o.Access.TokenFile, []byte("new"), 0o600))
	drained(t, b)
}

// The rights that docs/operations.md names.
var (
	agentMay = []string{"healer.v1.app.>", "$JS.API.>", "$JS.ACK.HEALER_APP.>"}
	readers  = []string{
		"$JS.API.STREAM.INFO.HEALER_APP", "$JS.API.CONSUMER.CREATE.HEALER_APP.>", "$JS.API.CONSUMER.MSG.NEXT.HEALER_APP.>",
		"$JS.API.DIRECT.GET.HEALER_APP.>", "$JS.API.DIRECT.GET.HEALER_APP",
	}
)

// TestReadersOnlyRead: with the documented rights agents publish and share, and a
// reader gets all there is and can put nothing in.
func TestReadersOnlyRead(t *testing.T) {
	allow := func(publish ...string) *server.Permissions {
		return &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{"healer.v1.app.>", "_INBOX.>"}},
		}
	}
	url := external(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "agent", Password: "a", Permissions: allow(agentMay...)},
			{Username: "reader", Password: "r", Permissions: allow(readers...)},
		}
	})
	dial := DialOptions{Cluster: "app", URLs: []string{url}, Log: testLog(), Access: Access{User: "agent", PasswordFile: secretIn(t, "a")}}
	agent := ready(t, connect(t, Options{DialOptions: dial, Agent: "n1", Replicas: 1, Dir: t.TempDir()}))
	var s shares
	share(t, agent, Sharing{Name: "hook", Kinds: ">", Limit: patience, Tries: 1, Parallel: 1}, s.by("agent", fine))
	all := eventstest.MakeN(t, "app", events.RecoveryStep, 5)
	publish(t, agent, all[:4]...)
	drained(t, agent)
	until(t, "the hook has run", func() bool { return s.len() == 4 })

	dial.Access = Access{User: "reader", PasswordFile: secretIn(t, "r")}
	reader, err := Dial(t.Context(), dial)
	check(t, err)
	t.Cleanup(reader.Close)
	check(t, reader.AwaitConnection(t.Context()))
	var in eventstest.Inbox
	check(t, reader.Past(t.Context(), events.Filter{From: events.FromStart()}, func(e events.Event) error { in.Put(e); return nil }))
	if got := ids(in.Events()); len(got) != 4 {
		t.Errorf("the reader reads %v", got)
	}
	var live eventstest.Inbox
	stop, err := reader.Subscribe(t.Context(), events.Filter{From: events.FromStart()}, live.Put)
	check(t, err)
	t.Cleanup(stop)
	publish(t, agent, all[4])
	live.Await(t, 5)

	// What a reader must not: put an event in, or take one away.
	forged := eventstest.Make(t, "app", events.NodeFailed, "forged")
	raw, err := forged.Encode()
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := reader.js.Publish(ctx, events.Subject("app", events.NodeFailed), raw); err == nil {
		t.Error("a reader has put an event into the stream")
	}
	if err := reader.js.DeleteStream(ctx, "HEALER_APP"); err == nil {
		t.Error("a reader has deleted the stream")
	}
	info, err := agent.js.Stream(t.Context(), "HEALER_APP")
	check(t, err)
	if got := info.CachedInfo().State; got.Msgs != 5 {
		t.Errorf("the stream has %d events: want 5", got.Msgs)
	}
	if _, err := nats.Connect(url); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("who shows nothing: %v", err)
	}
}

// TestAccessIsChecked: what cannot be used is refused before anything is connected,
// and nothing of a secret is shown.
func TestAccessIsChecked(t *testing.T) {
	open := secretIn(t, "hunter2")
	check(t, os.Chmod(open, 0o644))
	ca, cert, key := certificates(t)
	for name, c := range map[string]struct {
		a    Access
		want string
	}{
		"no file":                 {Access{TokenFile: "/no/such/file"}, "/no/such/file"},
		"an open file":            {Access{TokenFile: open}, "chmod 0600"},
		"an empty file":           {Access{TokenFile: secretIn(t, "\n")}, "not just one line"},
		"two lines":               {Access{User: "u", PasswordFile: secretIn(t, "hunter2\nhunter2\n")}, "not just one line"},
		"no seed":                 {Access{NKeyFile: secretIn(t, "hunter2")}, "no seed"},
		"no credentials":          {Access{CredsFile: secretIn(t, "hunter2")}, "no seed"},
		"no CA":                   {Access{CAFile: secretIn(t, "hunter2")}, "no certificate"},
		"a certificate as key":    {Access{CAFile: ca, CertFile: cert, KeyFile: cert}, "private key"},
		"no key":                  {Access{CertFile: cert, KeyFile: "/no/such/key"}, "/no/such/key"},
		"a key as certificate":    {Access{CertFile: key, KeyFile: key}, "certificate"},
		"credentials anyone has":  {Access{CredsFile: open}, "chmod 0600"},
		"a key that is no file":   {Access{NKeyFile: t.TempDir()}, "is not a file"},
		"a password that is gone": {Access{User: "u"}, "no such file"},
	} {
		_, err := Dial(t.Context(), DialOptions{Cluster: "app", URLs: []string{"nats://127.0.0.1:1"}, Access: c.a})
		f, ok := errors.AsType[*topology.Fault](err)
		if !ok || f.Code != "nats_access" || f.Hint == "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
