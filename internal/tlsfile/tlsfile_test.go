package tlsfile_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healer/internal/tlsfile"
	"healer/internal/tlsfile/tlstest"
)

func open(t *testing.T, f tlsfile.Files) *tlsfile.Source {
	t.Helper()
	s, err := tlsfile.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// meet lets the two shake hands and returns what the server has seen of the client.
func meet(t *testing.T, server, client *tls.Config) (seen tls.ConnectionState, serverSays, clientSays error) {
	t.Helper()
	if client.ServerName == "" {
		client.ServerName = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			serverSays = err
			return
		}
		defer c.Close()
		on := tls.Server(c, server)
		if serverSays = on.HandshakeContext(t.Context()); serverSays == nil {
			seen = on.ConnectionState()
			_, serverSays = on.Write([]byte("welcome"))
			_ = on.CloseWrite()
		}
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if clientSays = err; err == nil {
		_, clientSays = io.ReadAll(c) // a certificate that is refused is told only now
		_ = c.Close()
	}
	<-done
	return seen, serverSays, clientSays
}

// Two who show certificates of one authority meet; who shows none, or one of another,
// does not, and neither believes a server of another.
func TestMutual(t *testing.T) {
	t.Parallel()
	ours, theirs := tlstest.New(t), tlstest.New(t)
	cert, key := ours.Both()
	server := open(t, tlsfile.Files{Cert: cert, Key: key, CA: ours.CA})
	otherCert, otherKey := theirs.Both()
	expiredCert, expiredKey := ours.Expired()
	serveCert, serveKey := ours.Server()
	for name, c := range map[string]struct {
		files tlsfile.Files
		meets bool
	}{
		"one of ours":         {tlsfile.Files{Cert: cert, Key: key, CA: ours.CA}, true},
		"no certificate":      {tlsfile.Files{CA: ours.CA}, false},
		"another authority's": {tlsfile.Files{Cert: otherCert, Key: otherKey, CA: ours.CA}, false},
		"an expired one":      {tlsfile.Files{Cert: expiredCert, Key: expiredKey, CA: ours.CA}, false},
		"a server's":          {tlsfile.Files{Cert: serveCert, Key: serveKey, CA: ours.CA}, false},
		"who believes others": {tlsfile.Files{Cert: cert, Key: key, CA: theirs.CA}, false},
		"who knows nobody":    {tlsfile.Files{Cert: cert, Key: key}, false},
	} {
		client := open(t, c.files)
		_, serverSays, clientSays := meet(t, server.Server(tls.RequireAndVerifyClientCert), client.Client())
		if met := serverSays == nil && clientSays == nil; met != c.meets {
			t.Errorf("%s: met %t: %v, %v", name, met, serverSays, clientSays)
		}
	}
	// The name counts as well, and an address is one.
	for _, name := range []string{"127.0.0.2", "elsewhere.example"} {
		client := open(t, tlsfile.Files{Cert: cert, Key: key, CA: ours.CA}).Client()
		client.ServerName = name
		if _, _, err := meet(t, server.Server(tls.NoClientCert), client); err == nil {
			t.Errorf("a server of 127.0.0.1 is believed to be %s", name)
		}
	}
}

// Servers of one authority meet as peers, in both directions; one without a certificate
// of it is no peer.
func TestPeers(t *testing.T) {
	t.Parallel()
	ours, theirs := tlstest.New(t), tlstest.New(t)
	peer := func(a *tlstest.Authority) *tls.Config {
		cert, key := a.Both()
		return open(t, tlsfile.Files{Cert: cert, Key: key, CA: ours.CA}).Peer()
	}
	one, other, stranger := peer(ours), peer(ours), peer(theirs)
	for _, c := range []struct {
		server, client *tls.Config
		meet           bool
	}{{one, other, true}, {other, one, true}, {one, stranger, false}, {stranger, one, false}} {
		if _, a, b := meet(t, c.server, c.client.Clone()); (a == nil && b == nil) != c.meet {
			t.Errorf("%v, %v: want them to meet: %t", a, b, c.meet)
		}
	}
}

func chain(t *testing.T, path string) []*x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(path, strings.Replace(path, "cert.pem", "key.pem", 1))
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{pair.Leaf}
}

// A server that wants no certificate judges the one that it is shown all the same, when
// asked, and by the authority of now.
func TestVouched(t *testing.T) {
	t.Parallel()
	ours, theirs := tlstest.New(t), tlstest.New(t)
	cert, key := ours.Both()
	server := open(t, tlsfile.Files{Cert: cert, Key: key, CA: ours.CA})
	clientCert, clientKey := ours.Client()
	client := open(t, tlsfile.Files{Cert: clientCert, Key: clientKey, CA: ours.CA})
	seen, serverSays, clientSays := meet(t, server.Server(tls.RequestClientCert), client.Client())
	if err := errors.Join(serverSays, clientSays); err != nil {
		t.Fatal(err)
	}
	if !tlsfile.Vouched(seen.PeerCertificates, server.Authorities()) {
		t.Error("a client's certificate is not taken")
	}
	for name, got := range map[string]bool{
		"none":                tlsfile.Vouched(nil, server.Authorities()),
		"no authority":        tlsfile.Vouched(seen.PeerCertificates, nil),
		"another's":           tlsfile.Vouched(seen.PeerCertificates, open(t, tlsfile.Files{CA: theirs.CA}).Authorities()),
		"a server's":          tlsfile.Vouched(chain(t, first(ours.Server())), server.Authorities()),
		"one that is expired": tlsfile.Vouched(chain(t, first(ours.Expired())), server.Authorities()),
	} {
		if got {
			t.Errorf("%s: taken", name)
		}
	}
	// From the moment on in which the authority is another.
	text, err := os.ReadFile(theirs.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ours.CA, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if tlsfile.Vouched(seen.PeerCertificates, server.Authorities()) {
		t.Error("the authority is another, and the certificate is still taken")
	}
}

func first(a, _ string) string { return a }

// A renewed certificate is used without a restart; one that cannot be used changes
// nothing, and is told of.
func TestRenewal(t *testing.T) {
	t.Parallel()
	ours := tlstest.New(t)
	cert, key := ours.Both()
	server := open(t, tlsfile.Files{Cert: cert, Key: key, CA: ours.CA})
	config, client := server.Server(tls.NoClientCert), open(t, tlsfile.Files{CA: ours.CA})
	serial := func() string {
		var out string
		c := client.Client()
		c.VerifyConnection = func(is tls.ConnectionState) error {
			out = is.PeerCertificates[0].SerialNumber.String()
			return nil
		}
		if _, a, b := meet(t, config, c); a != nil || b != nil {
			t.Fatal(a, b)
		}
		return out
	}
	before := serial()
	if got := server.Status(); got.Problem != nil || time.Until(got.NotAfter) < time.Minute {
		t.Errorf("status %+v", got)
	}
	newCert, newKey := ours.Both()
	tlstest.Replace(t, cert, key, newCert, newKey)
	after := serial()
	if after == before {
		t.Fatal("the renewed certificate is not used")
	}
	for name, spoil := range map[string]func() error{
		"garbage":      func() error { return os.WriteFile(cert, []byte("hunter2"), 0o600) },
		"another's":    func() error { c, _ := ours.Both(); return os.Rename(c, cert) },
		"an open key":  func() error { return os.Chmod(key, 0o644) },
		"none":         func() error { return os.Remove(cert) },
		"no authority": func() error { return os.WriteFile(ours.CA, []byte("hunter2"), 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if got := serial(); got != after {
			t.Errorf("%s: another certificate is in use", name)
		}
		if p := server.Status().Problem; p == nil || strings.Contains(p.Error(), "hunter2") {
			t.Errorf("%s: problem %v", name, p)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	ours := tlstest.New(t)
	cert, key := ours.Both()
	_, otherKey := ours.Both()
	open := filepath.Join(t.TempDir(), "open.pem")
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files tlsfile.Files
		want  string
	}{
		"no key":          {tlsfile.Files{Cert: cert}, "belong together"},
		"no certificate":  {tlsfile.Files{Key: key}, "belong together"},
		"no such file":    {tlsfile.Files{Cert: "/no/such/cert", Key: key}, "/no/such/cert"},
		"no such key":     {tlsfile.Files{Cert: cert, Key: "/no/such/key"}, "/no/such/key"},
		"another's key":   {tlsfile.Files{Cert: cert, Key: otherKey}, otherKey},
		"anybody's key":   {tlsfile.Files{Cert: cert, Key: open}, "chmod 0600"},
		"no such CA":      {tlsfile.Files{CA: "/no/such/ca"}, "/no/such/ca"},
		"CA that is none": {tlsfile.Files{CA: key}, "has no certificate"},
	} {
		if _, err := tlsfile.Open(c.files); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
