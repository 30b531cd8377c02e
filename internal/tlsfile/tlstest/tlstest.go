// Package tlstest makes authorities and certificates for tests, into files of the
// test's own. Nothing else may import it.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority vouches for certificates.
type Authority struct {
	// CA is the file with its own certificate.
	CA string

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t)}
	tmpl := template("authority", time.Now().Add(time.Hour))
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.CA = filepath.Join(a.dir, "ca.pem")
	write(t, a.CA, "CERTIFICATE", der)
	return a
}

// Both is a certificate of 127.0.0.1 that serves and calls, as an agent has one, and its
// key.
func (a *Authority) Both() (cert, key string) {
	return a.issue("agent", time.Now().Add(time.Hour), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// Server is a certificate of 127.0.0.1, which only serves.
func (a *Authority) Server() (cert, key string) {
	return a.issue("server", time.Now().Add(time.Hour), x509.ExtKeyUsageServerAuth)
}

// Client is a certificate that only calls.
func (a *Authority) Client() (cert, key string) {
	return a.issue("client", time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)
}

// Expired is a certificate that could call until lately.
func (a *Authority) Expired() (cert, key string) {
	return a.issue("expired", time.Now().Add(-time.Minute), x509.ExtKeyUsageClientAuth)
}

func (a *Authority) issue(name string, until time.Time, usages ...x509.ExtKeyUsage) (cert, key string) {
	a.t.Helper()
	private := newKey(a.t)
	tmpl := template(name, until)
	tmpl.KeyUsage, tmpl.ExtKeyUsage, tmpl.IPAddresses = x509.KeyUsageDigitalSignature, usages, []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &private.PublicKey, a.key)
	must(a.t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	must(a.t, err)
	dir, err := os.MkdirTemp(a.dir, name)
	must(a.t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(a.t, cert, "CERTIFICATE", der)
	write(a.t, key, "PRIVATE KEY", pkcs)
	return cert, key
}

// Replace puts the one pair of files in the place of the other, as a renewal does.
func Replace(t testing.TB, cert, key, byCert, byKey string) {
	t.Helper()
	must(t, os.Rename(byKey, key))
	must(t, os.Rename(byCert, cert))
}

func template(name string, until time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
