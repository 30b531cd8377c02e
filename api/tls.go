package api

import (
	"crypto/tls"
	"net/http"
)

// NewClient makes a client for the functions of this package, which asks each agent
// anew: over TLS with t, over plain HTTP without.
func NewClient(t *tls.Config) *http.Client {
	plain := &http.Transport{DisableKeepAlives: true, TLSClientConfig: t}
	if t == nil {
		return &http.Client{Transport: plain}
	}
	return &http.Client{Transport: overTLS{plain}}
}

// overTLS asks over TLS what it is asked for.
type overTLS struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o overTLS) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "https"
	return o.next.RoundTrip(r)
}

func assessCertificates(s Status) (critical, degraded []string) {
	for _, c := range s.Certificates {
		if c.Problem != "" {
			degraded = append(degraded, c.Door+": the certificate in use is not that of the files: "+c.Problem)
		}
	}
	return nil, degraded
}
