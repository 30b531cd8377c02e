package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// clusterName is the name of the demo's cluster in events and subjects.
const clusterName = "demo"

const loopback = "127.0.0.1"

// address is where one node and its agent listen.
type address struct {
	node, dsn                string
	gossip, api, nats, route string
}

// clusterFile is the file that all agents read.
func clusterFile(nodes []address) string {
	var b strings.Builder
	b.WriteString("# Made by healer demo.\ncluster: " + clusterName + "\nnodes:\n")
	for _, n := range nodes {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: %q\n    api: %q\n    nats: {client: %q, cluster: %q}\n",
			n.node, n.dsn, n.gossip, n.api, n.nats, n.route)
	}
	return b.String()
}

// Ports are taken below those that the kernel gives to outgoing connections, so
// that nobody happens to sit on an agent's port while the agent is down, and
// above those of the demo's servers.
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
