// Package apiclient says how the agents of a cluster's file are asked over HTTP, for
// every command alike.
package apiclient

import (
	"fmt"
	"net/http"

	"healer/api"
	"healer/config"
	"healer/internal/tlsfile"
	"healer/topology"
)

// Files are where a command has what TLS needs, in the place of what the cluster's
// file says; an empty one leaves that as it is.
type Files struct{ CA, Cert, Key string }

// Of makes the client for the agents of a cluster: over TLS where its file says so.
// Files that cannot be used are a Fault.
func Of(c *config.Config, instead Files) (*http.Client, error) {
	t := c.API.TLS
	if !t.On() && instead == (Files{}) {
		return api.NewClient(nil), nil
	}
	f := Files{CA: t.CAFile, Cert: t.ClientCertFile, Key: t.ClientKeyFile}
	if instead.CA != "" {
		f.CA = instead.CA
	}
	if instead.Cert != "" || instead.Key != "" {
		f.Cert, f.Key = instead.Cert, instead.Key
	}
	return Secure(f)
}

// Secure makes a client that asks over TLS.
func Secure(f Files) (*http.Client, error) {
	src, err := tlsfile.Open(tlsfile.Files{Cert: f.Cert, Key: f.Key, CA: f.CA})
	if err != nil {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "api_tls", Err: fmt.Errorf("TLS to the agents: %w", err),
			Hint: "name files that this user can read: api.tls in the cluster's file, or --ca-file, --cert-file and --key-file",
		}
	}
	return api.NewClient(src.Client()), nil
}
