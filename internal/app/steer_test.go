package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"healer/api"
	"healer/config"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/localpg"
	"healer/topology"
)

// tell tells the agent of a node what to do, as the command line does.
func (c *cluster) tell(node string, verb api.Verb, r api.SteerRequest) (api.Controlled, error) {
	n, _ := c.cfg.Node(node)
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	return api.PostSteer(ctx, http.DefaultClient, n.API, apiToken, verb, r)
}

func (c *cluster) told(node string, verb api.Verb, r api.SteerRequest) api.Controlled {
	c.t.Helper()
	got, err := c.tell(node, verb, r)
	if err != nil {
		c.t.Fatalf("%s %+v: %v", verb, r, err)
	}
	return got
}

// refused waits until some agent refuses to act for a reason.
func (c *cluster) refused(reason string, nodes ...string) api.Refusal {
	c.t.Helper()
	var found api.Refusal
	c.eventually("it is refused: "+reason, func() error {
		var seen []api.Refusal
		for _, n := range nodes {
			s, err := c.status(n)
			if err != nil {
				return err
			}
			seen = append(seen, s.Refusals...)
		}
		i := slices.IndexFunc(seen, func(r api.Refusal) bool { return r.Reason == reason })
		if i < 0 {
			return fmt.Errorf("refusals %+v", seen)
		}
		found = seen[i]
		return nil
	})
	return found
}

// kinds collects the kinds of all events, each event once.
func (c *cluster) kinds(node string) func() map[events.Kind]int {
	c.t.Helper()
	n, _ := c.cfg.Node(node)
	bus, err := natsbus.Dial(context.Background(), natsbus.DialOptions{Cluster: c.cfg.Cluster, URLs: []string{"nats://" + n.NATS.Client}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(bus.Close)
	var mu sync.Mutex
	all := map[events.Kind]int{}
	if _, err := bus.Subscribe(context.Background(), events.Filter{From: events.FromStart()}, func(e events.Event) {
		mu.Lock()
		defer mu.Unlock()
		all[e.Kind()]++
	}); err != nil {
		c.t.Fatal(err)
	}
	return func() map[events.Kind]int {
		mu.Lock()
		defer mu.Unlock()
		out := map[events.Kind]int{}
		for k, n := range all {
			out[k] = n
		}
		return out
	}
}

// block lets nobody else write to a node's tables until the result is called: a replay there
// waits.
func (c *cluster) block(node string) (free func()) {
	c.t.Helper()
	conn, err := c.mesh.Node(node).Connect(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := conn.Exec(context.Background(), `BEGIN; LOCK TABLE entry, account IN EXCLUSIVE MODE`, pgx.QueryExecModeSimpleProtocol); err != nil {
		c.t.Fatal(err)
	}
	return func() { _ = conn.Close(context.Background()) }
}

// blocked waits until a replay waits there.
func (c *cluster) blocked(node string) {
	c.t.Helper()
	c.eventually("the replay waits on "+node, func() error {
		if n := value[int64](c, node, `SELECT count(*) FROM pg_locks w JOIN pg_locks a USING (pid) WHERE NOT w.granted AND a.locktype = 'advisory'`); n == 0 {
			return errors.New("nobody who holds the lane's lock waits")
		}
		return nil
	})
}

// leftovers waits until nothing of a recovery is left on the survivors; the fences
// are counted.
func (c *cluster) leftovers(fences int64, survivors ...string) {
	c.t.Helper()
	c.eventually("nothing of the recovery is left", func() error {
		for _, n := range survivors {
			left := value[string](c, n, `SELECT coalesce(string_agg(what, ', '), '') FROM (
				SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_name LIKE 'healer%'
				UNION ALL SELECT 'mark ' || roname FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%'
				UNION ALL SELECT 'lock' FROM pg_locks WHERE locktype = 'advisory') x (what)`)
			got := value[int64](c, n, `SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:fence:%'`)
			disabled := value[int64](c, n, `SELECT count(*) FROM pg_subscription WHERE NOT subenabled`)
			if left != "" || got != fences || disabled != fences {
				return fmt.Errorf("%s: left %q, %d fences, %d disabled subscriptions", n, left, got, disabled)
			}
		}
		return nil
	})
}

// What operators say to one agent holds for all: a pause keeps a recovery from
// beginning, a cancellation ends it and leaves nothing behind, an acknowledgement
// has it done.
func TestOperatorsPauseCancelAndAcknowledge(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	kinds := c.kinds("n2")
	c.lag(100)
	for want, r := range map[string]api.SteerRequest{"node_unknown": {Node: "n9"}, "bad_request": {For: 1}} {
		var f *topology.Fault
		if _, err := c.tell("n2", api.Pause, r); !errors.As(err, &f) || f.Code != want || f.Hint == "" {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
	c.told("n3", api.Pause, api.SteerRequest{Node: "n1", By: "ops", DryRun: true})
	if s, err := c.status("n3"); err != nil || len(s.Control) != 0 {
		t.Errorf("a dry run left %+v, %v", s.Control, err)
	}
	c.told("n3", api.Pause, api.SteerRequest{Node: "n1", By: "ops", Reason: "move"})
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	if r := c.refused("paused", "n2"); r.Subject != "n1" {
		t.Errorf("%+v", r)
	}
	c.foreseen()
	c.leftovers(0, "n2", "n3")
	var f *topology.Fault
	if _, err := c.tell("n2", api.Resume, api.SteerRequest{}); !errors.As(err, &f) || f.Code != "not_paused" {
		t.Errorf("what was not paused is resumed: %v", err)
	}

	// Resumed, it begins, waits, and is cancelled in the middle.
	free := c.block("n3")
	c.told("n2", api.Resume, api.SteerRequest{Node: "n1", By: "ops"})
	c.blocked("n3")
	var id string
	c.eventually("the run is shown", func() error {
		s, err := c.status("n2")
		if err != nil || s.Current == nil {
			return fmt.Errorf("current %+v, %w", s.Current, err)
		}
		id = s.Current.ID
		return nil
	})
	c.told("n3", api.Cancel, api.SteerRequest{Recovery: id, By: "ops"})
	free()
	if r := c.refused("cancelled", "n2"); !strings.Contains(r.Remedy, "healer recovery ack "+id) {
		t.Errorf("%+v", r)
	}
	c.leftovers(1, "n2", "n3")
	c.eventually("every agent tells of the cancelled run", func() error {
		for _, r := range c.runs(id) {
			if r.State != api.RecoveryCancelled {
				return fmt.Errorf("run %+v", r)
			}
		}
		return nil
	})
	if _, err := c.tell("n2", api.Cancel, api.SteerRequest{Recovery: "nonesuch"}); !errors.As(err, &f) || f.Code != "recovery_unknown" {
		t.Errorf("a recovery that nobody knows is cancelled: %v", err)
	}

	c.told("n3", api.Ack, api.SteerRequest{Node: "n1", By: "ops"})
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.eventually("each word is an event, once", func() error {
		got := kinds()
		for _, k := range []events.Kind{events.ControlPaused, events.ControlResumed, events.RecoveryCancelled, events.RecoveryAcknowledged} {
			if got[k] != 1 {
				return fmt.Errorf("%d events %s of %v", got[k], k, got)
			}
		}
		return nil
	})
	if _, err := c.tell("n2", api.Cancel, api.SteerRequest{Recovery: id}); !errors.As(err, &f) || f.Code != "recovery_over" {
		t.Errorf("a recovery that is over is cancelled: %v", err)
	}
}

// A recovery of a node that lives is cancelled: the survivors read from it again.
func TestCancelledRecoveryOfALivingNode(t *testing.T) {
	t.Parallel()
	c, door := newClusterWithDoor(t)
	c.startAll()
	c.lag(50)
	free := c.block("n3")
	door.Refuse()
	c.blocked("n3")
	// It was never dead, and comes back in the middle of its recovery.
	if err := errors.Join(door.Heal(), c.mesh.Heal()); err != nil {
		t.Fatal(err)
	}
	var id string
	c.eventually("the node is seen alive, and its recovery is under way", func() error {
		s, err := c.status("n2")
		if err != nil || s.Current == nil || s.Nodes[0].Life == api.LifeFailed {
			return fmt.Errorf("current %+v, %+v, %w", s.Current, s.Nodes, err)
		}
		id = s.Current.ID
		return nil
	})
	c.told("n2", api.Cancel, api.SteerRequest{Recovery: id})
	free()
	c.rejoined("n1")
	c.leftovers(0, "n1", "n2", "n3")
	c.caughtUp()
	c.equal("n1", "n2", "n3")
	c.eventually("the cancellation is over with it", func() error {
		s, err := c.status("n3")
		if err == nil && len(s.Control) > 0 {
			err = fmt.Errorf("still holds: %+v", s.Control)
		}
		return err
	})
}

// In the mode advise a plan waits for its approval.
func TestAdvisedPlanIsApproved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Mode = config.ModeAdvise
	c.startAll()
	kinds := c.kinds("n2")
	c.lag(50)
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	r := c.refused("mode_advise", "n2")
	if r.Recovery == "" || r.Plan == "" || !strings.Contains(r.Remedy, "healer recovery approve "+r.Recovery) {
		t.Fatalf("%+v", r)
	}
	c.leftovers(0, "n2", "n3")
	var f *topology.Fault
	if _, err := c.tell("n3", api.Approve, api.SteerRequest{Recovery: r.Recovery, Plan: "another"}); !errors.As(err, &f) ||
		f.Code != "plan_changed" || !strings.Contains(f.Hint, r.Plan) {
		t.Errorf("another plan is approved: %v", err)
	}
	if got := kinds()[events.RecoveryStarted]; got != 0 {
		t.Errorf("%d recoveries were started", got)
	}
	if got := c.told("n3", api.Approve, api.SteerRequest{Recovery: r.Recovery, Plan: r.Plan}); !strings.Contains(got.Said, "n3 gets (") {
		t.Errorf("it is said: %q", got.Said)
	}
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.eventually("taking it back is approved", func() error {
		back := c.refused("mode_advise", "n1", "n2")
		_, err := c.tell("n2", api.Approve, api.SteerRequest{Recovery: back.Recovery})
		return err
	})
	c.rejoined("n1")
}
