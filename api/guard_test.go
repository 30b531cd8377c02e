package api_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/api"
	"healer/control"
	"healer/topology"
)

// wheel is a Steering that remembers what it was told.
type wheel struct {
	mu   sync.Mutex
	told []api.MaintenanceRequest
	err  error
	// steered is how often it was told something else.
	steered int
	// unknown is a node that it refuses.
	unknown string
}

func (w *wheel) refuses(node string) error {
	if node != "" && node == w.unknown {
		return &topology.Fault{Code: "node_unknown", Hint: "name one", Err: errors.New("no such node")}
	}
	return w.err
}

func (w *wheel) Maintenance(_ context.Context, r api.MaintenanceRequest) (control.Entry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.refuses(r.Node)
	if err == nil {
		w.told = append(w.told, r)
	}
	return control.Entry{Kind: control.Maintenance, Subject: r.Node}, err
}

func (w *wheel) Steer(_ context.Context, verb api.Verb, r api.SteerRequest) (control.Entry, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuses(r.Node) == nil {
		w.steered++
	}
	return control.Entry{Kind: kindOf(verb), Subject: r.Node + r.Recovery}, "done", w.refuses(r.Node)
}

// kindOf is what a verb leaves behind.
func kindOf(verb api.Verb) control.Kind {
	return map[api.Verb]control.Kind{
		api.Pause: control.Pause, api.Resume: control.Pause, api.Approve: control.Approval,
		api.Cancel: control.Cancellation, api.Ack: control.Acknowledgement,
	}[verb]
}

// steered starts a server that can be told things.
func steered(t *testing.T, s api.Steering, token api.TokenSource) string {
	t.Helper()
	srv, err := api.New(api.Options{
		Addr: "127.0.0.1:0", Source: &source{s: api.Status{Cluster: "app", Agent: "n1"}},
		Steering: s, Token: token, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	return srv.Addr()
}

func TestGuard(t *testing.T) {
	t.Parallel()
	fixed := func(s string, err error) api.TokenSource { return func() (string, error) { return s, err } }
	good := `{"node": "n1", "for": "30m"}`
	for name, c := range map[string]struct {
		token  api.TokenSource
		header map[string]string
		host   string
		body   string
		status int
		code   string
	}{
		"nothing configured":    {status: 403, code: "steering_off"},
		"no token file":         {token: fixed("", nil), status: 403, code: "steering_off"},
		"an empty token":        {token: fixed("", nil), header: map[string]string{"Authorization": "Bearer "}, status: 403, code: "steering_off"},
		"another page":          {token: fixed("s3cret", nil), header: map[string]string{"Authorization": "Bearer s3cret", "Sec-Fetch-Site": "cross-site"}, status: 403, code: "cross_origin"},
		"no token":              {token: fixed("s3cret", nil), status: 401, code: "token_wrong"},
		"wrong token":           {token: fixed("s3cret", nil), header: map[string]string{"Authorization": "Bearer s3cre"}, status: 401, code: "token_wrong"},
		"other scheme":          {token: fixed("s3cret", nil), header: map[string]string{"Authorization": "s3cret"}, status: 401, code: "token_wrong"},
		"token":                 {token: fixed("s3cret", nil), header: map[string]string{"Authorization": "Bearer s3cret"}, host: "n1.example", status: 200},
		"token cannot be read":  {token: fixed("", errors.New("gone")), status: 503, code: "token_unreadable"},
		"a form":                {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t", "Content-Type": "text/plain"}, status: 400, code: "bad_request"},
		"unknown field":         {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t"}, body: `{"nodes": "n1"}`, status: 400, code: "bad_request"},
		"bad duration":          {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t"}, body: `{"node": "n1", "for": "soon"}`, status: 400, code: "bad_request"},
		"two objects":           {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t"}, body: good + good, status: 400, code: "bad_request"},
		"far too large":         {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t"}, body: `{"node": "` + strings.Repeat("x", 32<<10) + `"}`, status: 413, code: "body_too_large"},
		"not JSON, but a token": {token: fixed("t", nil), header: map[string]string{"Authorization": "Bearer t"}, body: "x", status: 400, code: "bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wheel{}
			addr := steered(t, w, c.token)
			body := c.body
			if body == "" {
				body = good
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/control/maintenance", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			if c.host != "" {
				req.Host = c.host
			}
			res, answer := do(t, req)
			if res.StatusCode != c.status || !strings.Contains(string(answer), c.code) {
				t.Errorf("%d %s: want %d %s", res.StatusCode, answer, c.status, c.code)
			}
			if done := len(w.told) == 1; done != (c.status == 200) {
				t.Errorf("done: %t", done)
			}
		})
	}
}

// The client says what was asked for, and brings back the agent's no as a fault.
func TestPostMaintenance(t *testing.T) {
	t.Parallel()
	w := &wheel{}
	addr := steered(t, w, func() (string, error) { return "s3cret", nil })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := api.MaintenanceRequest{Node: "n2", For: api.Duration(time.Minute), By: "me", Reason: "disk", DryRun: true}
	got, err := api.PostMaintenance(t.Context(), client, addr, "s3cret", ask)
	if err != nil || got.Agent != "n1" || got.Entry.Subject != "n2" || !got.DryRun || len(w.told) != 1 || w.told[0] != ask {
		t.Errorf("%+v, %v, told %+v", got, err, w.told)
	}
	w.err = &topology.Fault{Code: "node_unknown", Hint: "name one", Err: errors.New("no such node")}
	_, err = api.PostMaintenance(t.Context(), client, addr, "s3cret", ask)
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "node_unknown" || f.Hint != "name one" || f.Err.Error() != "no such node" {
		t.Errorf("error %v", err)
	}
	_, err = api.PostMaintenance(t.Context(), client, addr, "", ask)
	if !errors.As(err, &f) || f.Code != "token_wrong" {
		t.Errorf("error %v", err)
	}
}
