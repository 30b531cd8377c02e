package natsbus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"healer/internal/secretfile"
	"healer/topology"
)

// Access is how a client shows who it is, and how it knows the servers. Of the ways
// to log in one is used; the zero Access has none. The files are read anew for
// each connection, so that they may be replaced.
type Access struct {
	// CredsFile has a user's JWT and seed, as nsc writes them.
	CredsFile string
	// NKeyFile has a user's seed.
	NKeyFile string
	// TokenFile has a token.
	TokenFile string
	// User logs in with the password in PasswordFile.
	User, PasswordFile string
	// CAFile has the certificates of who vouches for the servers; the system's when
	// empty. CertFile and KeyFile are the client's own. Any of them makes TLS a
	// must, as does a URL that begins with tls.
	CAFile, CertFile, KeyFile string
}

// options are those of a connection. What cannot be used now is a Fault.
func (a Access) options() ([]nats.Option, error) {
	var opts []nats.Option
	var err error
	switch {
	case a.CredsFile != "":
		_, err = nkeyOf(a.CredsFile)
		opts = append(opts, nats.UserCredentials(a.CredsFile))
	case a.NKeyFile != "":
		var opt nats.Option
		opt, err = a.nkey()
		opts = append(opts, opt)
	case a.TokenFile != "":
		_, err = secretfile.ReadWord(a.TokenFile)
		opts = append(opts, nats.TokenHandler(func() string { return shown(a.TokenFile) }))
	case a.User != "":
		_, err = secretfile.ReadWord(a.PasswordFile)
		opts = append(opts, nats.UserInfoHandler(func() (string, string) { return a.User, shown(a.PasswordFile) }))
	}
	if err != nil {
		return nil, accessFault(err, "make the file readable for this user alone, with what the NATS server knows")
	}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s has no certificate", a.CAFile)
		}
		if err != nil {
			return nil, accessFault(err, "name the certificates of who vouches for the NATS servers as nats.tls.ca_file")
		}
		opts = append(opts, nats.RootCAs(a.CAFile))
	}
	if a.CertFile != "" {
		_, err := secretfile.Read(a.KeyFile)
		if err == nil {
			_, err = tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		}
		if err != nil {
			return nil, accessFault(err, "name a certificate and its key, readable for this user alone, under nats.tls")
		}
		opts = append(opts, nats.ClientCert(a.CertFile, a.KeyFile))
	}
	return opts, nil
}

// nkey logs in by a signature with the seed in the file.
func (a Access) nkey() (nats.Option, error) {
	key, err := nkeyOf(a.NKeyFile)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Nkey(public, func(nonce []byte) ([]byte, error) {
		key, err := nkeyOf(a.NKeyFile)
		if err != nil {
			return nil, err
		}
		defer key.Wipe()
		return key.Sign(nonce)
	}), nil
}

// nkeyOf reads the seed in a file, which may have more in it.
func nkeyOf(path string) (nkeys.KeyPair, error) {
	text, err := secretfile.Read(path)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s has no seed of a user", path) // the cause may show it
	}
	return key, nil
}

// shown is the secret in a file; none when it cannot be read just now, which the
// server then refuses.
func shown(path string) string {
	word, err := secretfile.ReadWord(path)
	if err != nil {
		return ""
	}
	return word
}

func accessFault(err error, hint string) error {
	return &topology.Fault{Code: "nats_access", Hint: hint, Err: fmt.Errorf("access to NATS: %w", err)}
}

// refused reports whether the servers are there and do not let this client in, or are
// not believed.
func refused(err error) bool {
	_, unbelieved := errors.AsType[*tls.CertificateVerificationError](err)
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) || unbelieved
}
