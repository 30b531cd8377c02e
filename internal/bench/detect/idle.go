package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"healer/detector"
	"healer/internal/localpg"
	"healer/postgres/probe"
)

// cost is the processor time that something takes in an idle cluster.
type cost struct {
	What string `json:"what"`
	// Percent is the share of one core, in a hundred, of one agent.
	Percent float64 `json:"percent_of_a_core"`
	// Servers is what the sessions of one agent cost all servers together.
	Servers float64 `json:"servers_percent,omitempty"`
}

// ticks is the unit of /proc/PID/stat on Linux, in a second.
const ticks = 100

// cpu is the processor time of a process, in seconds; 0 when it has ended.
func cpu(pid int) float64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the program's name may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	sum := 0.0
	for _, f := range fields[11:13] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0
		}
		sum += v
	}
	return sum / ticks
}

// idle measures what agents cost when nothing happens: the probes alone, then all of
// an agent that may act.
func idle(ctx context.Context, o options) ([]cost, error) {
	mesh, err := localpg.StartMesh(ctx, localpg.Options{Nodes: 3})
	if err != nil {
		return nil, err
	}
	all, err := idleOn(ctx, o, mesh)
	return all, errors.Join(err, mesh.Close())
}

func idleOn(ctx context.Context, o options, mesh *localpg.Mesh) ([]cost, error) {
	dir, err := os.MkdirTemp("", "healer-idle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	dsns := filepath.Join(dir, "dsns")
	var text []string
	for _, n := range mesh.Names() {
		text = append(text, mesh.Node(n).DSN())
	}
	if err := os.WriteFile(dsns, []byte(strings.Join(text, "\n")), 0o600); err != nil {
		return nil, err
	}
	alone := &process{program: o.self, args: []string{"-probe", dsns}}
	if err := alone.start(); err != nil {
		return nil, err
	}
	probes, err := settledCPU(ctx, o, mesh, []*process{alone}, "healer probe")
	alone.kill()
	if err != nil {
		return nil, err
	}
	probes.What = "the probes of one agent alone"

	files, err := localFiles(ctx, []string{"idle"}, mesh.Names(), func(n string) string { return mesh.Node(n).DSN() })
	if err != nil {
		return nil, err
	}
	a, err := newAgents(o, "idle", dir, strings.Replace(files[0], "mode: observe\n", "", 1), mesh.Names(), nil)
	if err != nil {
		return nil, err
	}
	defer a.killAll()
	if err := a.startAll(); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := a.settled(wait); err != nil {
		return nil, err
	}
	var procs []*process
	for _, p := range a.procs {
		procs = append(procs, p)
	}
	whole, err := settledCPU(ctx, o, mesh, procs, "healer")
	whole.What = "the whole agent"
	return []cost{probes, whole}, err
}

// settledCPU waits until what has started is at rest, and measures then.
func settledCPU(ctx context.Context, o options, mesh *localpg.Mesh, procs []*process, sessions string) (cost, error) {
	rest := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := rest(o.idleFor / 4); err != nil {
		return cost{}, err
	}
	measure := func() (agents float64, servers map[int32]float64, err error) {
		for _, p := range procs {
			agents += cpu(p.pid)
		}
		servers = map[int32]float64{}
		for _, s := range mesh.Nodes() {
			pids, err := localpg.Column[int32](ctx, s, `select pid from pg_stat_activity where application_name like $1 || '%'`, sessions)
			if err != nil {
				return 0, nil, err
			}
			for _, pid := range pids {
				servers[pid] = cpu(int(pid))
			}
		}
		return agents, servers, nil
	}
	before, serversBefore, err := measure()
	if err != nil {
		return cost{}, err
	}
	begin := time.Now()
	if err := rest(o.idleFor); err != nil {
		return cost{}, err
	}
	after, serversAfter, err := measure()
	if err != nil {
		return cost{}, err
	}
	share := func(seconds float64) float64 {
		return math.Round(seconds/time.Since(begin).Seconds()/float64(len(procs))*1e4) / 100
	}
	sum := 0.0
	for pid, now := range serversAfter {
		sum += now - serversBefore[pid]
	}
	return cost{Percent: share(after - before), Servers: share(sum)}, nil
}

// probeAlone probes servers as one agent does, and does nothing else.
func probeAlone(ctx context.Context, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	o := detector.Options{Probers: map[string]detector.Prober{}}
	for i, dsn := range strings.Split(string(b), "\n") {
		p, err := probe.New(dsn)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("n%d", i+1)
		o.Members, o.Probers[name] = append(o.Members, name), p
	}
	o.Self, o.Gossip, o.Log = o.Members[0], nobody{}, discard()
	d, err := detector.New(o)
	if err != nil {
		return err
	}
	if err := d.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return d.Stop(context.WithoutCancel(ctx))
}
