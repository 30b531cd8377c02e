package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"healer/api"
)

// counted waits until the metrics have a line.
func counted(t *testing.T, srv *api.Server, line string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, body := get(t, srv, "/metrics")
		if strings.Contains(body, "\n"+line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics have no line %s:\n%s", line, body)
		}
	}
}

// say sends bytes as they are and returns what is answered until the end.
func say(t *testing.T, addr, text string) string {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// A door that is shut may break off.
	_, _ = io.WriteString(c, text)
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// What is not to come in is refused and counted, and nothing has changed.
func TestShutDoors(t *testing.T) {
	w := &wheel{}
	srv, err := api.New(api.Options{
		Addr: "127.0.0.1:0", Source: &source{s: healthy()}, Steering: w, Recoveries: past{}, Log: logTo(t),
		Token: func() (string, error) { return "s3cret", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	api.Hasten(srv, 200*time.Millisecond)
	begin(t, srv)
	post := func(length int, header, body string) string {
		return fmt.Sprintf("POST /v1/control/pause HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", length, header, body)
	}
	shown := "Authorization: Bearer s3cret\r\n"
	for name, c := range map[string]struct{ text, answer, line string }{
		"no token": {
			post(2, "", "{}"), "HTTP/1.1 401 ", `healer_api_requests_total{code="401",route="POST /v1/control/pause"} 1`,
		},
		"oversize body": {
			post(1<<20, shown, `{"node": "`+strings.Repeat("x", 64<<10)), "HTTP/1.1 413 ", `healer_api_requests_total{code="413",route="POST /v1/control/pause"} 1`,
		},
		"body that never comes": {
			post(2, shown, "{"), "HTTP/1.1 400 ", `healer_api_requests_total{code="400",route="POST /v1/control/pause"} 1`,
		},
		"out of the tree": {
			"GET /v1/recoveries/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 307 ", "",
		},
		"out of the tree, hidden": {
			"GET /v1/recoveries/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 ",
			`healer_api_requests_total{code="404",route="GET /v1/recoveries/{id}"} 1`,
		},
		"elsewhere": {
			"GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 ", `healer_api_requests_total{code="404",route=""} 1`,
		},
		"large header": {
			"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "HTTP/1.1 431 ", "",
		},
		"slow header": {"GET /livez HTTP/1.1\r\nHost: loc", "", ""},
	} {
		answer := say(t, srv.Addr(), c.text)
		if !strings.HasPrefix(answer, c.answer) || (c.answer == "" && answer != "") || strings.Contains(answer, "root:") {
			t.Errorf("%s: %.300q", name, answer)
		}
		if c.line != "" {
			counted(t, srv, c.line)
		}
	}
	for reason, n := range map[string]int{
		"unfinished_request": 2, "token_wrong": 1, "body_too_large": 1, "bad_request": 1, "path": 1, "not_found": 2,
	} {
		counted(t, srv, fmt.Sprintf(`healer_refused_requests_total{door="api",reason="%s"} %d`, reason, n))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.told)+w.steered > 0 {
		t.Errorf("told %+v and steered %d times", w.told, w.steered)
	}
}

// There are only so many connections, and one that ends makes room.
func TestConnectionsBounded(t *testing.T) {
	srv := serve(t, api.Options{Source: &source{s: healthy()}})
	var d net.Dialer
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range api.MaxConns {
		c, err := d.DialContext(t.Context(), "tcp", srv.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		// An answer shows that the server has taken it.
		if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	if answer := say(t, srv.Addr(), "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); answer != "" {
		t.Fatalf("one more is answered: %q", answer)
	}
	for _, c := range open {
		_ = c.Close()
	}
	open = nil
	deadline := time.Now().Add(time.Minute)
	for {
		if answer := say(t, srv.Addr(), "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no room is made")
		}
	}
	_, body := get(t, srv, "/metrics")
	if strings.Contains(body, `healer_refused_requests_total{door="api",reason="too_many"} 0`) {
		t.Error("nobody was counted")
	}
}
