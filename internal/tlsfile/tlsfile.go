package tlsfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"healer/internal/secretfile"
)

// Files are where one side of TLS has what it needs, all in PEM.
type Files struct {
	// Cert is this side's certificate, with those between it and its authority behind
	// it; Key is its key, which nobody but the owner may reach. Both or none.
	Cert, Key string
	// CA has the certificates of who vouches for the other side; empty stands for
	// those of the system.
	CA string
}

// Source is what the files have. It may be used by several goroutines.
type Source struct {
	files Files

	mu   sync.Mutex
	seen [3]stamp
	now  content
	bad  error
}

// content is what was read, whole and fit for use.
type content struct {
	pair *tls.Certificate
	pool *x509.CertPool
}

// stamp tells one state of a file from another: file systems tell the time in steps,
// so that two files may have the same.
type stamp struct {
	file    uint64
	size    int64
	changed time.Time
	mode    os.FileMode
	missing bool
}

// Open reads the files. An error names the file and says what is wrong with it, and
// never shows what is in it.
func Open(f Files) (*Source, error) {
	s := &Source{files: f}
	if s.look(); s.bad != nil {
		return nil, s.bad
	}
	return s, nil
}

// look reads the files again when one of them is not as it was. The caller holds the
// lock, or is alone.
func (s *Source) look() {
	seen := [3]stamp{stampOf(s.files.Cert), stampOf(s.files.Key), stampOf(s.files.CA)}
	if seen == s.seen {
		return
	}
	s.seen = seen
	next, err := read(s.files)
	if s.bad = err; err == nil {
		s.now = next
	}
}

func stampOf(path string) stamp {
	if path == "" {
		return stamp{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return stamp{missing: true}
	}
	out := stamp{size: info.Size(), changed: info.ModTime(), mode: info.Mode()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		out.file = stat.Ino
	}
	return out
}

func read(f Files) (content, error) {
	var c content
	if (f.Cert == "") != (f.Key == "") {
		return c, errors.New("a certificate and its key belong together: one of the two is missing")
	}
	if f.Cert != "" {
		chain, err := os.ReadFile(f.Cert)
		if err != nil {
			return c, err
		}
		key, err := secretfile.Read(f.Key)
		if err != nil {
			return c, err
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return c, fmt.Errorf("%s with the key %s: %w", f.Cert, f.Key, err)
		}
		c.pair = &pair
	}
	if f.CA != "" {
		authority, err := os.ReadFile(f.CA)
		if err != nil {
			return c, err
		}
		c.pool = x509.NewCertPool()
		if !c.pool.AppendCertsFromPEM(authority) {
			return c, fmt.Errorf("%s has no certificate in PEM", f.CA)
		}
	}
	return c, nil
}

func (s *Source) current() content {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	return s.now
}

// Authorities vouch for the other side, as the file has them now; nil stands for
// those of the system.
func (s *Source) Authorities() *x509.CertPool { return s.current().pool }

// Status is how the files are now.
type Status struct {
	// NotAfter is when the certificate in use ends; zero without one.
	NotAfter time.Time
	// Problem is why the files as they are now are not in use; nil when they are.
	Problem error
}

// Status looks at the files.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	out := Status{Problem: s.bad}
	if s.now.pair != nil && s.now.pair.Leaf != nil {
		out.NotAfter = s.now.pair.Leaf.NotAfter
	}
	return out
}

// Server is the configuration of a server with that certificate. Which certificates
// of clients it wants is kind; the authority of the files vouches for them.
func (s *Source) Server(kind tls.ClientAuthType) *tls.Config {
	fresh := func() *tls.Config {
		c := s.current()
		out := &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: kind,
			// A session that is resumed would be judged by authorities that may have
			// been replaced since.
			SessionTicketsDisabled: true,
		}
		if c.pair != nil {
			out.Certificates = []tls.Certificate{*c.pair}
		}
		if kind != tls.NoClientCert {
			out.ClientCAs = c.pool
		}
		return out
	}
	out := fresh()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return fresh(), nil }
	return out
}

// Client is the configuration of a client that shows that certificate, where there is
// one, and wants a server that the authority of the files as they are now vouches for:
// another authority needs another Client.
func (s *Source) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: s.Authorities(), GetClientCertificate: s.clientCertificate,
	}
}

// Peer is the configuration of one of several servers that connect to one another: as
// Server it insists on a certificate, as Client it shows its own.
func (s *Source) Peer() *tls.Config {
	c := s.Server(tls.RequireAndVerifyClientCert)
	c.RootCAs, c.GetClientCertificate = s.Authorities(), s.clientCertificate
	return c
}

func (s *Source) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if pair := s.current().pair; pair != nil {
		return pair, nil
	}
	return &tls.Certificate{}, nil // none is shown
}

// Vouched reports whether the certificates that a client has shown, its own first, are
// vouched for by the authority now, and meant for clients.
func Vouched(shown []*x509.Certificate, by *x509.CertPool) bool {
	if len(shown) == 0 || by == nil {
		return false
	}
	o := x509.VerifyOptions{Roots: by, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, between := range shown[1:] {
		o.Intermediates.AddCert(between)
	}
	_, err := shown[0].Verify(o)
	return err == nil
}
