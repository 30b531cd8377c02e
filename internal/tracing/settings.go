package tracing

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Settings are where spans go to.
type Settings struct {
	// URL takes OTLP over HTTP; empty when nobody wants any.
	URL string
	// Headers go with every request.
	Headers http.Header
	// Service is the service's name.
	Service string
}

// The variables of the environment that count; see "OpenTelemetry Protocol Exporter"
// and "Environment Variable Specification" in OpenTelemetry's specification.
const (
	envTraces   = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envHeaders  = "OTEL_EXPORTER_OTLP_HEADERS"
	envProtocol = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envService  = "OTEL_SERVICE_NAME"
	envDisabled = "OTEL_SDK_DISABLED"
)

// FromEnviron reads the settings out of an environment, by the names that
// OpenTelemetry has for them. Without an endpoint nothing is sent. Its error names
// the variable, the value unless it may be secret, and the remedy.
func FromEnviron(get func(string) string) (Settings, error) {
	s := Settings{URL: get(envTraces), Service: get(envService), Headers: http.Header{}}
	name := envTraces
	if base := get(envEndpoint); s.URL == "" && base != "" {
		name, s.URL = envEndpoint, strings.TrimSuffix(base, "/")+"/v1/traces"
	}
	if s.URL == "" || strings.EqualFold(get(envDisabled), "true") {
		return Settings{}, nil
	}
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Settings{}, fmt.Errorf("%s is no http or https URL: give one such as http://localhost:4318", name)
	}
	if p := get(envProtocol); p != "" && !strings.HasPrefix(p, "http/") {
		return Settings{}, fmt.Errorf("%s is %q: spans are sent as http/json only; a collector takes these at port 4318", envProtocol, p)
	}
	if s.Service == "" {
		s.Service = "healer"
	}
	for _, pair := range strings.Split(get(envHeaders), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil {
			return Settings{}, fmt.Errorf("%s is not a list of key=value with commas between", envHeaders)
		}
		s.Headers.Add(key, value)
	}
	return s, nil
}
