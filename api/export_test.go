package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Patterns are the routes that a server of the options has.
func Patterns(o Options) []string {
	var out []string
	for _, r := range routes(o, prometheus.NewRegistry()) {
		out = append(out, r.pattern)
	}
	return out
}

// Hasten makes a server that has not been started give requests this long to come.
func Hasten(s *Server, d time.Duration) { s.http.ReadTimeout, s.http.ReadHeaderTimeout = d, d }

// MaxStreams and MaxConns are the bounds.
const (
	MaxStreams = maxStreams
	MaxConns   = maxConns
)
