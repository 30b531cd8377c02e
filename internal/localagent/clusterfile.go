package localagent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

const loopback = "127.0.0.1"

// Address is where one node and its agent listen.
type Address struct {
	Node, DSN string
	// Gossip, API, NATS and Route are host:port of the agent.
	Gossip, API, NATS, Route string
}

// Addresses gives each node free ports for its agent. dsn tells how to reach a
// node's server.
func Addresses(ctx context.Context, nodes []string, dsn func(node string) string) ([]Address, error) {
	ports, err := freePorts(ctx, 4*len(nodes))
	if err != nil {
		return nil, err
	}
	out := make([]Address, 0, len(nodes))
	for i, n := range nodes {
		p := ports[4*i:]
		out = append(out, Address{Node: n, DSN: dsn(n), Gossip: p[0], API: p[1], NATS: p[2], Route: p[3]})
	}
	return out, nil
}

// ClusterFile is the file that all agents of a cluster read.
func ClusterFile(cluster string, nodes []Address) string {
	var b strings.Builder
	// Who runs servers here kills them on purpose, over and over: none of them
	// is to be held down for that.
	b.WriteString("# Made for agents on this machine.\ncluster: " + cluster + "\ndetection: {flap_after: 1000}\nnodes:\n")
	for _, n := range nodes {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: %q\n    api: %q\n    nats: {client: %q, cluster: %q}\n",
			n.Node, n.DSN, n.Gossip, n.API, n.NATS, n.Route)
	}
	return b.String()
}

// Ports are taken below those that the kernel gives to outgoing connections, so
// that nobody happens to sit on an agent's port while the agent is down, and
// above those of localpg's servers.
const firstPort, lastPort = 32001, 32700

// freePorts finds ports that are free for TCP and for UDP. The listeners are
// held until all are found, so that no port is found twice.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var hold []interface{ Close() error }
	defer func() {
		for _, c := range hold {
			_ = c.Close()
		}
	}()
	var addrs []string
	var lc net.ListenConfig
	for _, i := range rand.Perm(lastPort - firstPort) {
		if len(addrs) == n {
			return addrs, nil
		}
		addr := net.JoinHostPort(loopback, strconv.Itoa(firstPort+i))
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		hold = append(hold, l)
		p, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			continue
		}
		hold = append(hold, p)
		addrs = append(addrs, addr)
	}
	if len(addrs) == n {
		return addrs, nil
	}
	return nil, errors.New("not enough free ports between " + strconv.Itoa(firstPort) + " and " + strconv.Itoa(lastPort))
}
