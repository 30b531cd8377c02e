// Package broker says how the NATS of a cluster's file is reached, for agents and
// commands alike.
package broker

import (
	"healer/config"
	"healer/events/natsbus"
)

// Dial is how a client of that name connects; those servers of an embedded NATS
// that the named members run are left out.
func Dial(c *config.Config, name string, but ...string) natsbus.DialOptions {
	n := c.NATS
	return natsbus.DialOptions{
		Cluster: c.Cluster, Name: name, URLs: c.NATSURLs(but...),
		Access: natsbus.Access{
			CredsFile: n.CredsFile, NKeyFile: n.NKeyFile, TokenFile: n.TokenFile, User: n.User, PasswordFile: n.PasswordFile,
			CAFile: n.TLS.CAFile, CertFile: n.TLS.CertFile, KeyFile: n.TLS.KeyFile,
		},
	}
}
