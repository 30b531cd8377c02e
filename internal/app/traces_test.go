package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"healer/events"
	"healer/internal/tracing"
)

// traces is a collector of OpenTelemetry traces that keeps what it is sent.
type traces struct {
	tracing.Settings

	mu     sync.Mutex
	bodies []string
}

func collectTraces(t *testing.T) *traces {
	c := &traces{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // an agent that ends lets go
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies = append(c.bodies, string(b))
	}))
	t.Cleanup(s.Close)
	c.URL, c.Service, c.Headers = s.URL, "healer", http.Header{}
	return c
}

// has reports whether a recovery has arrived with that step.
func (c *traces) has(recovery, step string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.bodies {
		if strings.Contains(b, events.TraceID(recovery)) && strings.Contains(b, step) {
			return true
		}
	}
	return false
}
