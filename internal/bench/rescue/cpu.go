package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"

	"healer/internal/localpg"
)

// usage is the processor time, in seconds, that a replay took in each place: it says
// what bounds the replay, and does not change when the machine has other work.
type usage struct {
	// Source is the walsender that decodes, Agent is healer, Laggard the
	// processes that apply.
	Source  float64 `json:"source_s"`
	Agent   float64 `json:"agent_s,omitempty"`
	Laggard float64 `json:"laggard_s"`
}

// ticks is the unit of /proc/PID/stat on Linux, in a second.
const ticks = 100

// cpuOf is the processor time of a process; 0 when it has ended.
func cpuOf(pid uint32) float64 {
	b, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/stat")
	if err != nil {
		return 0
	}
	// The second field, the program's name, ends with the last parenthesis.
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		return 0
	}
	return (user + system) / ticks
}

// ownCPU is the processor time of this process.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime)
}

// nativeCPU is what PostgreSQL's own apply has used, its parallel workers among it.
func (c *cluster) nativeCPU(ctx context.Context, slot string) (usage, error) {
	var u usage
	sender, err := localpg.Column[int32](ctx, c.lost, `select active_pid from pg_replication_slots where slot_name = $1`, slot)
	if err != nil {
		return u, err
	}
	workers, err := localpg.Column[int32](ctx, c.laggard, `select pid from pg_stat_subscription where pid is not null`)
	if err != nil {
		return u, err
	}
	for _, pid := range sender {
		u.Source += cpuOf(uint32(pid)) //nolint:gosec // a process id is positive
	}
	for _, pid := range workers {
		u.Laggard += cpuOf(uint32(pid)) //nolint:gosec // a process id is positive
	}
	return u, nil
}
