package main

import (
	"context"
	"net"
	"strconv"

	"healer/internal/localagent"
	"healer/internal/localnet"
)

// place is where a plain member listens.
type place struct {
	host string
	port int
}

// memberPlaces are the places of each group's members, by node: on their hosts, or
// on ports of this machine that are free for TCP and UDP.
func memberPlaces(ctx context.Context, nodes []string, hosts map[string]*localnet.Host, groups int) ([]map[string]place, error) {
	out := make([]map[string]place, groups)
	var free []place
	if hosts == nil {
		var err error
		if free, err = freePlaces(ctx, groups*len(nodes)); err != nil {
			return nil, err
		}
	}
	for i := range out {
		out[i] = map[string]place{}
		for _, n := range nodes {
			if hosts != nil {
				out[i][n] = place{hosts[n].Addr(), 9000 + i}
			} else {
				out[i][n], free = free[0], free[1:]
			}
		}
	}
	return out, nil
}

// freePlaces finds ports as for agents, which have four each.
func freePlaces(ctx context.Context, count int) ([]place, error) {
	addrs, err := localagent.Addresses(ctx, make([]string, (count+3)/4), func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	var out []place
	for _, a := range addrs {
		for _, at := range []string{a.Gossip, a.API, a.NATS, a.Route} {
			h, p, err := net.SplitHostPort(at)
			if err != nil {
				return nil, err
			}
			port, err := strconv.Atoi(p)
			if err != nil {
				return nil, err
			}
			out = append(out, place{h, port})
		}
	}
	return out, nil
}
