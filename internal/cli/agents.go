package cli

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/config"
	"healer/internal/apiclient"
)

// AgentFlags adds to a command what names an agent that it asks without a file, and how
// agents are asked over TLS.
func AgentFlags(cmd *cobra.Command, does string) (addr *string) {
	f := cmd.Flags()
	addr = f.String("api", "", does+" the agent at this `HOST:PORT`, without a file; https://HOST:PORT over TLS")
	f.String("ca-file", "", "the `FILE` with the certificates of who vouches for the agents, where it is not that of api.tls.ca_file")
	f.String("cert-file", "", "the `FILE` with the certificate to show, where it is not that of api.tls.client_cert_file")
	f.String("key-file", "", "the `FILE` with the key of --cert-file")
	return addr
}

// agents lists whom to ask.
func (a App) agents(cmd *cobra.Command, file, node, addr string) ([]answer, error) {
	switch {
	case addr != "" && (file != "" || node != ""):
		return nil, Usage(cmd, errors.New("--api names one agent: it does not go with --config or --node"))
	case addr != "":
		at, err := AgentAddr(cmd, addr)
		return []answer{{API: at}}, err
	case file == "":
		return nil, Usage(cmd, fmt.Errorf("%s needs --config FILE or --api HOST:PORT", quote(cmd.CommandPath())))
	}
	c, err := LoadConfig(cmd, file, a.CheckDSN)
	if err != nil {
		return nil, err
	}
	if node != "" {
		if n, ok := c.Node(node); ok {
			return []answer{{Node: n.Name, API: n.API}}, nil
		}
		if w, ok := c.Witness(node); ok {
			return []answer{{Node: w.Name, API: w.API}}, nil
		}
		return nil, &hinted{
			code: exitUsage, err: fmt.Errorf("%s has no node %s", file, quote(node)),
			hint: "its nodes are " + strings.Join(c.Names(), ", "),
		}
	}
	agents := make([]answer, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		agents = append(agents, answer{Node: n.Name, API: n.API})
	}
	for _, w := range c.Witnesses {
		agents = append(agents, answer{Node: w.Name, API: w.API})
	}
	return agents, nil
}

// overTLS stands before an address that is asked over TLS.
const overTLS = "https://"

// AgentAddr is the host:port of what --api names.
func AgentAddr(cmd *cobra.Command, api string) (string, error) {
	at := strings.TrimPrefix(api, overTLS)
	if _, _, err := net.SplitHostPort(at); err != nil {
		return "", Usage(cmd, fmt.Errorf("--api %s is not HOST:PORT", quote(api)))
	}
	return at, nil
}

// AgentClient makes what asks the agents of a command with AgentFlags: over TLS where
// the file, the address or a flag says so.
func AgentClient(cmd *cobra.Command, check config.DSNCheck) (*http.Client, error) {
	files := apiclient.Files{CA: value(cmd, "ca-file"), Cert: value(cmd, "cert-file"), Key: value(cmd, "key-file")}
	addr, file := value(cmd, "api"), value(cmd, "config")
	switch {
	case file != "":
		c, err := LoadConfig(cmd, file, check)
		if err != nil {
			return nil, err
		}
		return apiclient.Of(c, files)
	case strings.HasPrefix(addr, overTLS) || files != (apiclient.Files{}):
		return apiclient.Secure(files)
	default:
		return api.NewClient(nil), nil
	}
}
