package chaoslab

import (
	"context"
	"fmt"
	"net/http"

	"healer/chaos/fault"
	"healer/internal/localpg"
	"healer/topology"
)

var _ fault.World = (*Lab)(nil)

// Nodes implements fault.World.
func (l *Lab) Nodes() []string { return l.mesh.Names() }

// SQL implements fault.World.
func (l *Lab) SQL(node string) fault.Database { return database{l.mesh.Node(node)} }

// Server implements fault.World.
func (l *Lab) Server(node string) (fault.Server, error) { return l.servers[node], nil }

// Agent implements fault.World.
func (l *Lab) Agent(node string) (fault.Agent, error) {
	return agent{l.agents[node], l, node}, nil
}

// Wires implements fault.World.
func (l *Lab) Wires(layer fault.Layer, node, peer string) ([]fault.Wire, error) {
	switch layer {
	case fault.Replication:
		if w, ok := l.repl[pair{node, peer}]; ok {
			return []fault.Wire{w}, nil
		}
	case fault.SQL:
		return []fault.Wire{l.sql[pair{node, peer}]}, nil
	case fault.All:
		all := []fault.Wire{l.repl[pair{node, peer}], l.repl[pair{peer, node}], l.sql[pair{node, peer}], l.sql[pair{peer, node}]}
		between, err := l.between(fault.Agents, node, peer)
		return append(all, between...), err
	default:
		return l.between(layer, node, peer)
	}
	return nil, fmt.Errorf("nothing of %s flows from %s to %s", layer, node, peer)
}

func (l *Lab) between(layer fault.Layer, node, peer string) ([]fault.Wire, error) {
	if l.net == nil {
		return nil, fault.Unable("a link between agents: "+l.noNet.Error(), "run as root, with /dev/net/tun, or use the links sql and replication")
	}
	return []fault.Wire{air{l, pair{node, peer}, layer}}, nil
}

// Door implements fault.World: every link has both of its ends here.
func (l *Lab) Door(string, fault.Layer) (fault.Wire, bool) { return nil, false }

// Disk implements fault.World.
func (l *Lab) Disk(node string) (fault.Disk, error) {
	if l.disks.why != nil {
		return nil, fault.Unable("a small file system: "+l.disks.why.Error(), "run as root where a tmpfs may be mounted")
	}
	return disk(l.disks.at(node)), nil
}

// Able says why a fault cannot be made here; nil when it can.
func (l *Lab) Able(f fault.Fault) error {
	switch {
	case f.Kind == fault.DiskFull:
		_, err := l.Disk(f.Node)
		return err
	case f.Kind == fault.ClockStep:
		return clockAble()
	case f.Kind == fault.NATSGone, f.Kind == fault.NATSServerLoss:
		f.Link = fault.NATS
	case f.Link == "" || f.Link == fault.SQL || f.Link == fault.Replication:
		return nil
	}
	if l.net == nil {
		_, err := l.between(f.Link, "", "")
		return err
	}
	return nil
}

// Subscription implements fault.World.
func (l *Lab) Subscription(node, peer string) string { return localpg.SubscriptionName(node, peer) }

// Slot implements fault.World.
func (l *Lab) Slot(node, peer string, recovery bool) string {
	if recovery {
		return topology.RecoverySlotName(l.mesh.Database(), node, peer)
	}
	return localpg.SubscriptionName(peer, node)
}

// Command implements fault.World.
func (l *Lab) Command(context.Context, []string) error {
	return fault.Unable("commands are for a cluster of your own", "use `healer chaos run --config FILE`")
}

// StreamLeader implements fault.World: the agents say who leads.
func (l *Lab) StreamLeader(ctx context.Context) (string, error) {
	var last error
	for _, n := range l.Names() {
		b, ok := l.buses[n]
		if !ok || !b.Connected() {
			continue
		}
		leader, err := b.Leader(ctx)
		if err == nil {
			if _, known := l.agents[leader]; known {
				return leader, nil
			}
			err = fmt.Errorf("the stream's leader is %q, which is no node", leader)
		}
		last = err
	}
	return "", fmt.Errorf("nobody tells who leads the stream: %w", last)
}

// get asks a node's agent for a page; the caller closes the body.
func (l *Lab) get(ctx context.Context, node, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.API(node)+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	return l.client.Do(req)
}
