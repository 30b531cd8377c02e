package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/control"
	"healer/events"
	"healer/topology"
)

// maxMaintenance bounds a maintenance: while it holds, the node's death is not
// healed.
const maxMaintenance = 7 * 24 * time.Hour

// openControl reads what operators have said before this agent started.
func (a *Agent) openControl(context.Context, Options) error {
	path := a.dir.file("control.json")
	var saved []control.Entry
	if err := readJSON(path, &saved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dirFault("control", "remove the file: the other agents tell this one what holds", err)
	}
	a.control = control.NewStore(saved, func(es []control.Entry) error { return writeJSON(path, es) })
	return nil
}

// steer keeps what operators have said, passes it on and acts on it.
func (a *Agent) steer(ctx context.Context) {
	tick := time.NewTicker(idle)
	defer tick.Stop()
	checked := time.Now()
	for {
		if changes := a.control.Changes(); len(changes) > 0 {
			a.gossip.SendControl(changes)
			for _, e := range changes {
				a.heed(e)
				a.tellControl(e)
			}
			a.poke()
		}
		checked = a.tellExpired(checked)
		if err := a.control.Save(time.Now()); err != nil {
			a.log.Warn("what operators have said is not saved", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.control.Wake():
		case <-tick.C:
		}
	}
}

// heed does what an entry asks of this agent at once.
func (a *Agent) heed(e control.Entry) {
	switch {
	case e.Kind == control.Cancellation && !e.Ended:
		a.active.cancel(control.PlanOf(e.Subject).Node)
	case e.Kind == control.Acknowledgement:
		a.rearmed.Store(true)
	}
}

// tellControl publishes what an operator has said. Every agent does; the time at
// which it was said makes their events one.
func (a *Agent) tellControl(e control.Entry) {
	f := events.Fact{Cluster: a.cfg.Cluster, Node: e.Subject, Detail: []string{e.At.Format(time.RFC3339Nano), e.By}}
	switch e.Kind {
	case control.Maintenance:
		f.Kind = events.NodeMaintenance
	case control.Pause:
		f.Kind = events.ControlPaused
		if e.Ended {
			f.Kind = events.ControlResumed
		}
	case control.Acknowledgement:
		p := control.PlanOf(e.Subject)
		f.Kind, f.Node, f.Recovery = events.RecoveryAcknowledged, p.Node, p.ID
	default:
		return // the plan it is about has events of its own
	}
	a.tell(f, saidIn(e))
}

// tellExpired tells of the pauses that have ended by themselves since the last
// look.
func (a *Agent) tellExpired(since time.Time) time.Time {
	now := time.Now()
	for _, e := range a.control.Entries() {
		if e.Kind == control.Pause && !e.Ended && e.Until.After(since) && !e.Until.After(now) {
			a.tell(events.Fact{
				Cluster: a.cfg.Cluster, Kind: events.ControlResumed, Node: e.Subject,
				Detail: []string{e.At.Format(time.RFC3339Nano), "expired"},
			}, saidIn(e))
			a.poke()
		}
	}
	return now
}

// Maintenance implements api.Steering.
func (a *Agent) Maintenance(_ context.Context, r api.MaintenanceRequest) (control.Entry, error) {
	now, length := time.Now(), time.Duration(r.For)
	switch {
	case !slices.Contains(a.cfg.Names(), r.Node):
		return control.Entry{}, steering("node_unknown", fmt.Sprintf("name one of %s", strings.Join(a.cfg.Names(), ", ")),
			"node %q is not in the file of cluster %s", r.Node, a.cfg.Cluster)
	case r.End && length != 0:
		return control.Entry{}, steering("bad_request", "leave one of the two out", "`for` and `end` do not go together")
	case !r.End && (length < time.Second || length > maxMaintenance):
		return control.Entry{}, steering("bad_request", fmt.Sprintf("give it between 1s and %s", maxMaintenance),
			"a maintenance of %s is too short or too long", length)
	}
	e := control.Entry{Kind: control.Maintenance, Subject: r.Node, By: r.By, Reason: r.Reason, Ended: r.End}
	if _, on := a.control.Get(e.Kind, e.Subject, now); r.End && !on {
		return control.Entry{}, steering("not_in_maintenance", "see `healer status` for what holds",
			"node %s is not under maintenance", r.Node)
	}
	if !r.End {
		e.Until = now.Add(length).UTC()
	}
	if r.DryRun {
		e.At = now.UTC()
		return e, nil
	}
	set, err := a.control.Set(e, now)
	if err != nil {
		return control.Entry{}, steering("not_saved", "mend the request, or the agent's data directory", "%w", err)
	}
	return set, nil
}

func steering(code, hint, format string, args ...any) error {
	return &topology.Fault{Class: topology.Permanent, Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
}
