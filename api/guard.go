package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"healer/topology"
)

// maxRequest bounds the body of a request that changes something.
const maxRequest = 16 << 10

// TokenSource returns the token that whoever changes something must show; empty
// when none is configured. It is asked for every such request, so that a new
// token counts without a restart.
type TokenSource func() (string, error)

// guarded lets a request through that may change something: with the token when
// one is configured, else only from this host itself.
func guarded(from TokenSource, next http.Handler) http.Handler {
	// A page in a browser on this host could send requests, too.
	browsers := http.NewCrossOriginProtection()
	return browsers.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := token(from)
		switch {
		case err != nil:
			problem(w, http.StatusServiceUnavailable, "token_unreadable", "the API's token cannot be read: "+err.Error(),
				"make the file of `api.token_file` readable for the agent")
		case want != "" && !shown(r, want):
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(w, http.StatusUnauthorized, "token_wrong", "the request shows no token, or a wrong one",
				"send `Authorization: Bearer TOKEN` with the content of the agents' `api.token_file`")
		case want == "" && !local(r):
			problem(w, http.StatusForbidden, "not_local", "without a token only this host itself may change something",
				"ask the agent on its own host, by its loopback address, or set `api.token_file` for all agents")
		default:
			next.ServeHTTP(w, r)
		}
	}))
}

// token is the one that must be shown; empty when none is configured.
func token(from TokenSource) (string, error) {
	if from == nil {
		return "", nil
	}
	return from()
}

// shown compares in a time that says nothing about the token.
func shown(r *http.Request, want string) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return ok && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// local reports whether the request comes from this host and was meant for it: a
// name that somebody else has pointed here is not.
func local(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || (err == nil && ip.Unmap().IsLoopback())
}

// change serves a request that changes something: it reads an In, strictly, has it
// done, and answers with what became of it. An error of do is the caller's: a
// *topology.Fault tells its code and the remedy.
func change[In, Out any](from TokenSource, do func(*http.Request, In) (Out, error)) http.Handler {
	return guarded(from, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
