package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/internal/apiclient"
	"healer/internal/tlsfile"
	"healer/internal/tlsfile/tlstest"
	"healer/topology"
)

// secured is a server over TLS that an operator's certificate steers.
type secured struct {
	*api.Server
	cert, key string
	wheel     *wheel
}

func secure(t *testing.T, ours, operators *tlstest.Authority, token api.TokenSource) *secured {
	t.Helper()
	s := &secured{wheel: &wheel{}}
	s.cert, s.key = ours.Server()
	own, err := tlsfile.Open(tlsfile.Files{Cert: s.cert, Key: s.key, CA: operators.CA})
	if err != nil {
		t.Fatal(err)
	}
	s.Server, err = api.New(api.Options{
		Addr: "127.0.0.1:0", Source: &source{s: healthy()}, Steering: s.wheel, Token: token, Log: logTo(t),
		TLS: &api.TLS{
			Config:  own.Server(tls.RequestClientCert),
			Vouched: func(shown []*x509.Certificate) bool { return tlsfile.Vouched(shown, own.Authorities()) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	begin(t, s.Server)
	return s
}

func client(t *testing.T, ca, cert, key string) *http.Client {
	t.Helper()
	c, err := apiclient.Secure(apiclient.Files{CA: ca, Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A certificate of the operators' authority steers in the place of a token; any other
// does not, and everybody who knows the agents' authority may look.
func TestCertificateSteers(t *testing.T) {
	t.Parallel()
	ours, operators, strangers := tlstest.New(t), tlstest.New(t), tlstest.New(t)
	fixed := func() (string, error) { return "s3cret", nil }
	pair := func(cert, key string) [2]string { return [2]string{cert, key} }
	for name, c := range map[string]struct {
		token api.TokenSource
		show  [2]string
		say   string
		code  string
	}{
		"an operator's":                   {show: pair(operators.Client())},
		"an operator's, beside a token":   {token: fixed, show: pair(operators.Client())},
		"a token":                         {token: fixed, say: "s3cret"},
		"a token, and a stranger's":       {token: fixed, say: "s3cret", show: pair(strangers.Client())},
		"a token that cannot be read":     {token: func() (string, error) { return "", errors.New("gone") }, show: pair(operators.Client())},
		"nothing":                         {code: "certificate_missing"},
		"nothing, where there is a token": {token: fixed, code: "token_wrong"},
		"a stranger's":                    {show: pair(strangers.Client()), code: "certificate_wrong"},
		"a stranger's and a wrong token":  {token: fixed, say: "guess", show: pair(strangers.Client()), code: "token_wrong"},
		"an agent's authority's":          {show: pair(ours.Client()), code: "certificate_wrong"},
		"one that is for servers":         {show: pair(operators.Server()), code: "certificate_wrong"},
		"an expired one":                  {show: pair(operators.Expired()), code: "certificate_wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := secure(t, ours, operators, c.token)
			caller := client(t, ours.CA, c.show[0], c.show[1])
			st, err := api.FetchStatus(t.Context(), caller, s.Addr())
			if err != nil {
				t.Fatalf("who may not steer may not even look: %v", err)
			}
			if want := len(st.SteerBy); want != 1 && (c.token == nil || want != 2) {
				t.Errorf("steer by %v", st.SteerBy)
			}
			_, err = api.PostSteer(t.Context(), caller, s.Addr(), c.say, api.Pause, api.SteerRequest{})
			code := ""
			if f, ok := errors.AsType[*topology.Fault](err); ok {
				code = f.Code
			}
			if code != c.code || (err == nil) != (c.code == "") || (s.wheel.steered == 1) != (c.code == "") {
				t.Errorf("%v, steered %d times: want %q", err, s.wheel.steered, c.code)
			}
		})
	}
}

// Who does not speak TLS, or not with this server, is turned away and counted.
func TestTLSDoors(t *testing.T) {
	t.Parallel()
	ours, operators, strangers := tlstest.New(t), tlstest.New(t), tlstest.New(t)
	s := secure(t, ours, operators, nil)
	if answer := say(t, s.Addr(), "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.0 400 ") || strings.Contains(answer, "app") {
		t.Errorf("plain HTTP: %q", answer)
	}
	if _, err := api.FetchStatus(t.Context(), client(t, strangers.CA, "", ""), s.Addr()); err == nil {
		t.Error("a server of another authority is believed")
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("the server is not believed: %v", err)
	}
	if _, err := api.FetchStatus(t.Context(), api.NewClient(&tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}), s.Addr()); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	// One that only knocks is no news, as a load balancer's.
	knock, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr())
	if err := errors.Join(err, knock.Close()); err != nil {
		t.Fatal(err)
	}
	ok := client(t, ours.CA, "", "")
	for until := time.Now().Add(time.Minute); ; {
		res, err := ok.Get("http://" + s.Addr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page := text(t, res)
		if strings.Contains(page, "\nhealer_refused_requests_total{door=\"api\",reason=\"tls_handshake\"} 2\n") {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("not counted:\n%s", page)
		}
	}
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A renewed certificate is shown, and an authority that is gone counts no more, without
// a restart, on connections that are open as well.
func TestTLSIsRenewed(t *testing.T) {
	t.Parallel()
	ours, operators, next := tlstest.New(t), tlstest.New(t), tlstest.New(t)
	s := secure(t, ours, operators, nil)
	cert, key := operators.Client()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{pair},
	}}}
	defer kept.CloseIdleConnections()
	steer := func() int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr()+"/v1/control", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := kept.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = text(t, res)
		return res.StatusCode
	}
	if got := steer(); got != http.StatusOK {
		t.Fatalf("an operator: %d", got)
	}
	newCert, newKey := next.Server()
	tlstest.Replace(t, s.cert, s.key, newCert, newKey)
	if _, err := api.FetchStatus(t.Context(), client(t, next.CA, "", ""), s.Addr()); err != nil {
		t.Errorf("the renewed certificate: %v", err)
	}
	if err := os.Rename(next.CA, operators.CA); err != nil {
		t.Fatal(err)
	}
	if got := steer(); got != http.StatusUnauthorized {
		t.Errorf("an operator of an authority that is gone: %d", got)
	}
}

// A server that is stopped lets go of its port.
func TestTLSServerStops(t *testing.T) {
	t.Parallel()
	ours := tlstest.New(t)
	s := secure(t, ours, ours, nil)
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
