package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"healer/topology"
)

// maxRequest bounds the body of a request that changes something.
const maxRequest = 16 << 10

// TokenSource returns the token that whoever changes something may show; empty
// when none is configured. It is asked for every such request, so that a new
// token counts without a restart.
type TokenSource func() (string, error)

// The ways in which a request shows that it may change something.
const (
	ByToken       = "token"
	ByCertificate = "certificate"
)

// keys are what lets a request change something. Without any nothing does.
type keys struct {
	token   TokenSource
	vouched func([]*x509.Certificate) bool
}

func keysOf(o Options) keys {
	k := keys{token: o.Token}
	if o.TLS != nil {
		k.vouched = o.TLS.Vouched
	}
	return k
}

// ways are those that are configured. A token that cannot be read is one.
func (k keys) ways() []string {
	ways := []string{}
	if want, err := k.want(); err != nil || want != "" {
		ways = append(ways, ByToken)
	}
	if k.vouched != nil {
		ways = append(ways, ByCertificate)
	}
	return ways
}

// want is the token that may be shown; empty when none is configured.
func (k keys) want() (string, error) {
	if k.token == nil {
		return "", nil
	}
	return k.token()
}

// denial is why a request is refused.
type denial struct {
	status           int
	code, text, hint string
}

// admit says by what the request may change something, or why it may not.
func (k keys) admit(r *http.Request) (by string, no *denial) {
	showsCert := k.vouched != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if showsCert && k.vouched(r.TLS.PeerCertificates) {
		return ByCertificate, nil
	}
	want, err := k.want()
	switch {
	case err != nil:
		return "", &denial{
			http.StatusServiceUnavailable, "token_unreadable", "the API's token cannot be read: " + err.Error(),
			"make the file of `api.token_file` readable for the agent",
		}
	case want == "" && k.vouched == nil:
		return "", &denial{
			http.StatusForbidden, "steering_off", "nobody may change anything here: the agents have neither a token nor an authority of operators' certificates",
			"set `api.token_file`, or `api.tls.client_ca_file`, for all agents",
		}
	case want != "" && shown(r, want):
		return ByToken, nil
	case showsCert && r.Header.Get("Authorization") == "":
		return "", &denial{
			http.StatusUnauthorized, "certificate_wrong", "the certificate that the request shows is not one of an operator, or is no longer valid",
			"show one that the authority of the agents' `api.tls.client_ca_file` vouches for, for use by clients",
		}
	case want == "":
		return "", &denial{
			http.StatusUnauthorized, "certificate_missing", "the request shows no certificate",
			"show one that the authority of the agents' `api.tls.client_ca_file` vouches for",
		}
	default:
		return "", &denial{
			http.StatusUnauthorized, "token_wrong", "the request shows no token, or a wrong one",
			"send `Authorization: Bearer TOKEN` with the content of the agents' `api.token_file`",
		}
	}
}

// guarded lets a request through that may change something.
func (k keys) guarded(next http.Handler) http.Handler {
	// A page in a browser with an operator's certificate could send requests, too.
	browsers := http.NewCrossOriginProtection()
	browsers.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusForbidden, "cross_origin", "another page asks for this", "use the agent's own console, or the command line")
	}))
	return browsers.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by, no := k.admit(r)
		if no != nil {
			if no.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			problem(w, no.status, no.code, no.text, no.hint)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), admittedKey{}, by)))
	}))
}

// admittedKey is where a guarded request's context has by what it was let in.
type admittedKey struct{}

func admittedBy(r *http.Request) string {
	by, _ := r.Context().Value(admittedKey{}).(string) // empty where nobody has asked
	return by
}

// shown compares in a time that says nothing about the token.
func shown(r *http.Request, want string) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return ok && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// change serves a request that changes something: it reads an In, strictly, has it
// done, and answers with what became of it. An error of do is the caller's: a
// *topology.Fault tells its code and the remedy.
func change[In, Out any](k keys, do func(*http.Request, In) (Out, error)) http.Handler {
	return k.guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := readBody(w, r, &in); err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				problem(w, http.StatusRequestEntityTooLarge, "body_too_large", err.Error(), fmt.Sprintf("send at most %d bytes", maxRequest))
				return
			}
			problem(w, http.StatusBadRequest, "bad_request", err.Error(), "send one JSON object as docs/operations.md has it")
			return
		}
		out, err := do(r, in)
		if err != nil {
			code, hint := "refused", ""
			var f *topology.Fault
			if errors.As(err, &f) {
				code, hint = f.Code, f.Hint
				if f.Err != nil {
					err = f.Err
				}
			}
			problem(w, http.StatusUnprocessableEntity, code, err.Error(), hint)
			return
		}
		respond(w, http.StatusOK, out)
	}))
}

func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return fmt.Errorf("the content type is %q: use application/json", r.Header.Get("Content-Type"))
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("the body cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body has more than one JSON object")
	}
	return nil
}

// Problem is the body of an answer that says no.
type Problem struct {
	// Code is stable, Error for a person, and Hint says what to do.
	Code  string `json:"code"`
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func problem(w http.ResponseWriter, status int, code, text, hint string) {
	if a, ok := w.(*answer); ok {
		a.why = code
	}
	respond(w, status, Problem{Code: code, Error: text, Hint: hint})
}

func respond(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		plain(w, http.StatusInternalServerError, "the answer cannot be encoded: "+err.Error()+"\n")
		return
	}
	head(w, status, "application/json")
	_, _ = w.Write(append(body, '\n')) // the reader has gone: nobody to tell
}
