package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"healer/api"
	"healer/internal/secretfile"
	"healer/internal/tlsfile"
	"healer/topology"
)

// openAPI serves what the agent knows, and takes what operators say.
func (a *Agent) openAPI(ctx context.Context, _ Options) (err error) {
	if _, err := a.token(); err != nil {
		return &topology.Fault{
			Class: topology.Permanent, Code: "api_token", Err: fmt.Errorf("the API's token: %w", err),
			Hint: "put a token into the file of `api.token_file`, readable for the agent's user alone, such as by `openssl rand -hex 32`",
		}
	}
	over, err := a.apiTLS()
	if err != nil {
		return err
	}
	a.api, err = api.New(api.Options{
		Addr: a.self.API, Source: a, Recoveries: a, Plans: a, Events: eventSource{a.bus},
		Steering: a, Token: a.token, TLS: over, Log: a.log.With("component", "api"),
		Collectors: []prometheus.Collector{a.tally},
	})
	if err != nil {
		return err
	}
	if err := a.api.Start(ctx); err != nil {
		return err
	}
	a.onClose("API", a.api.Stop)
	return nil
}

// token implements api.TokenSource: the file is read anew each time, so that it
// may be replaced while the agent runs.
func (a *Agent) token() (string, error) {
	if a.cfg.API.TokenFile == "" {
		return "", nil
	}
	return secretfile.ReadWord(a.cfg.API.TokenFile)
}

// apiTLS is nil where the API is served in the clear.
func (a *Agent) apiTLS() (*api.TLS, error) {
	t := a.cfg.API.TLS
	if !t.On() {
		return nil, nil //nolint:nilnil // the options have it so
	}
	own, err := a.certificate("api", tlsfile.Files{Cert: t.CertFile, Key: t.KeyFile, CA: t.ClientCAFile})
	if err != nil {
		return nil, err
	}
	if t.ClientCAFile == "" {
		return &api.TLS{Config: own.Server(tls.NoClientCert)}, nil
	}
	return &api.TLS{
		// Who shows a certificate that is not known may look as anybody may.
		Config:  own.Server(tls.RequestClientCert),
		Vouched: func(shown []*x509.Certificate) bool { return tlsfile.Vouched(shown, own.Authorities()) },
	}, nil
}

// certificate opens the files of a door, and shows from then on how they are.
func (a *Agent) certificate(door string, f tlsfile.Files) (*tlsfile.Source, error) {
	src, err := tlsfile.Open(f)
	if err != nil {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: door + "_tls", Err: fmt.Errorf("TLS of the %s: %w", door, err),
			Hint: "mend the files of `" + door + ".tls`: PEM, and the key readable for the agent's user alone",
		}
	}
	a.certificates = append(a.certificates, doorCertificate{door, src})
	return src, nil
}

// doorCertificate is what the agent shows at a door.
type doorCertificate struct {
	door string
	src  *tlsfile.Source
}

// status is how its files are.
func (d doorCertificate) status() api.Certificate {
	s := d.src.Status()
	out := api.Certificate{Door: d.door, NotAfter: s.NotAfter}
	if s.Problem != nil {
		out.Problem = s.Problem.Error()
	}
	return out
}
