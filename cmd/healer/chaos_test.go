package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/fault"
	"healer/events"
	"healer/internal/chaoslab"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// drill is a real cluster whose agents are processes of this program.
type drill struct {
	*testing.T
	*chaoslab.Lab

	// made is the last fault, session what was open when it was made.
	made    *fault.Active
	session *pgx.Conn
}

func startDrill(t *testing.T) *drill {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	program, err := exec.LookPath("healer") // the test's own binary: see TestMain
	if err != nil {
		t.Fatal(err)
	}
	dir, remove, err := chaoslab.NewDir(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	l, err := chaoslab.Start(ctx, chaoslab.Options{
		Nodes: 3, Major: pgtest.Major(t), Program: program, Dir: dir,
		Schema: []string{`create table notes (id bigint generated always as identity, node text, primary key (node, id))`},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &drill{T: t, Lab: l}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range l.Names() {
				t.Logf("log of the agent of %s:\n%s", n, l.AgentOf(n).Tail(40))
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	d.await("the cluster is healthy", l.Healthy)
	return d
}

// await waits until nothing speaks against a condition.
func (d *drill) await(what string, cond func(context.Context) error) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 90*time.Second)
	defer cancel()
	if err := chaoslab.Await(ctx, cond); err != nil {
		d.Fatalf("it never comes to this: %s: %v", what, err)
	}
}

// one is the answer to a question with one row.
func (d *drill) one(ctx context.Context, node, sql string) (string, error) {
	got, err := d.SQL(node).Texts(ctx, sql)
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("%d rows", len(got))
	}
	if err != nil {
		return "", fmt.Errorf("%s on %s: %w", sql, node, err)
	}
	return got[0], nil
}

// says is nil when that is a node's answer.
func (d *drill) says(node, sql, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		got, err := d.one(ctx, node, sql)
		if err == nil && got != want {
			err = fmt.Errorf("%s on %s: %q, want %q", sql, node, got, want)
		}
		return err
	}
}

// not is nil when the condition does not hold.
func not(cond func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := cond(ctx); err == nil {
			return errors.New("it still holds")
		}
		return nil
	}
}

// answers is nil when a server takes connections.
func (d *drill) answers(node string) func(context.Context) error {
	return d.says(node, `select 'here'`, "here")
}

// agent is nil when a node's agent answers.
func (d *drill) agent(node string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		_, err := d.Status(ctx, node)
		return err
	}
}

// quick is nil when the link gives a sign of life within a time.
func (d *drill) quick(f fault.Fault, within time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		wires, err := d.Wires(f.Link, f.Node, f.Peer)
		if err != nil {
			return err
		}
		took, err := wires[0].Probe(ctx, within)
		if err == nil && took > within {
			err = fmt.Errorf("a sign of life took %s", took)
		}
		return err
	}
}

// stopped is nil when the process is in state T.
func stopped(pid func() int) func(context.Context) error {
	return func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid()))
		if err != nil {
			return err
		}
		if state := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[0]; state != "T" {
			return fmt.Errorf("process %d is in state %s", pid(), state)
		}
		return nil
	}
}

// struck is a fault that is made once. During holds while it is in force, after when it
// is healed: each is asked beside the fault's own proof, and of another source.
type struck struct {
	fault.Fault

	during, after func(context.Context) error
}

// gentle are the faults that cost no server.
func (d *drill) gentle() []struck {
	link := func(kind fault.Kind, f fault.Fault) struck {
		f.Kind, f.Node, f.Peer = kind, "n1", "n2"
		if f.Link == "" {
			f.Link = fault.Replication
		}
		alive := d.quick(f, 80*time.Millisecond)
		return struck{f, not(alive), alive}
	}
	offset := 3 * time.Hour
	clock := func(ctx context.Context) error {
		a, err := d.Agent("n3")
		if err != nil {
			return err
		}
		at, err := a.Clock(ctx)
		if err == nil && time.Until(at) < offset/2 {
			err = fmt.Errorf("it is %s", at)
		}
		return err
	}
	air := fault.Fault{Link: fault.NATS, Node: "n3", Peer: "n1"}
	recovery := `select count(*)::text from pg_replication_slots where slot_name = '` + d.Slot("n3", "n1", true) + `'`
	enabled := `select subenabled::text from pg_subscription where subname = '` + d.Subscription("n3", "n1") + `'`
	column := `select count(*)::text from pg_attribute where attrelid = 'notes'::regclass and attname like 'chaos\_%'`
	// A link that is reset lives on; that its session is another one shows.
	sender := `select coalesce(string_agg(pid::text, ' '), '') from pg_stat_replication where application_name = '` + d.Subscription("n2", "n1") + `'`
	reset := struck{Fault: fault.Fault{Kind: fault.LinkReset, Node: "n1", Peer: "n2", Link: fault.Replication}}
	before, err := d.one(d.Context(), "n1", sender)
	if err != nil {
		d.Fatal(err)
	}
	reset.during = func(ctx context.Context) error {
		now, err := d.one(ctx, "n1", sender)
		if err == nil && now == before {
			err = errors.New("its session lives on")
		}
		return err
	}
	reset.after = d.answers("n1")
	return []struck{
		reset,
		link(fault.LinkCut, fault.Fault{Way: fault.ToPeer}),
		link(fault.LinkCut, fault.Fault{Link: fault.Agents}),
		link(fault.LinkSlow, fault.Fault{Delay: 100 * time.Millisecond}),
		link(fault.LinkNarrow, fault.Fault{Rate: 40}),
		link(fault.LinkHalfOpen, fault.Fault{}),
		link(fault.LinkRefuse, fault.Fault{Link: fault.SQL}),
		{fault.Fault{Kind: fault.ClockStep, Node: "n3", Offset: offset}, clock, not(clock)},
		{fault.Fault{Kind: fault.NATSServerLoss, Node: "n3"}, not(d.quick(air, 80*time.Millisecond)), d.quick(air, time.Second)},
		{fault.Fault{Kind: fault.NATSGone}, not(d.quick(air, 80*time.Millisecond)), d.quick(air, time.Second)},
		{fault.Fault{Kind: fault.SubscriptionDisable, Node: "n3", Peer: "n1"}, d.says("n3", enabled, "false"), d.says("n3", enabled, "true")},
		{fault.Fault{Kind: fault.DDL}, d.says("n2", column, "1"), d.says("n2", column, "1")},
		// The keeper makes the slot anew as soon as it misses it.
		{fault.Fault{Kind: fault.SlotDrop, Node: "n3", Peer: "n1", Slot: "recovery"}, d.answers("n3"), d.says("n3", recovery, "1")},
		{fault.Fault{Kind: fault.BackendsTerminate, Node: "n3"}, d.ended, d.answers("n3")},
		{fault.Fault{Kind: fault.NATSLeaderLoss}, not(d.all(d.agent)), d.all(d.agent)},
		{fault.Fault{Kind: fault.AgentFreeze, Node: "n3"}, stopped(d.AgentOf("n3").PID), d.agent("n3")},
		{fault.Fault{Kind: fault.AgentStop, Node: "n3"}, not(d.agent("n3")), d.agent("n3")},
		{fault.Fault{Kind: fault.AgentKill, Node: "n3"}, not(d.agent("n3")), d.agent("n3")},
	}
}

// all is nil when a condition holds for every node.
func (d *drill) all(cond func(node string) func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, n := range d.Names() {
			if err := cond(n)(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// rough are the faults that take a server away.
func (d *drill) rough(node string) []struck {
	up := d.answers(node)
	var all []struck
	for _, f := range []fault.Fault{
		{Kind: fault.ServerFreeze},
		{Kind: fault.ServerKill},
		{Kind: fault.PostmasterKill},
		{Kind: fault.NodeKill},
		{Kind: fault.ServerStop, Mode: "immediate"},
		{Kind: fault.RecoveryCrash},
	} {
		f.Node = node
		all = append(all, struck{f, not(up), up})
	}
	frozen := func(ctx context.Context) error {
		_, text, _ := strings.Cut(d.made.Proof, "process ")
		pid, err := strconv.Atoi(strings.Fields(text + " ?")[0])
		if err != nil {
			return err
		}
		return stopped(func() int { return pid })(ctx)
	}
	full := func(context.Context) error {
		disk, err := d.Disk(node)
		if err != nil {
			return err
		}
		left, err := disk.Left()
		if err == nil && left > 64<<10 {
			err = fmt.Errorf("%d bytes are left", left)
		}
		return err
	}
	return append(all,
		struck{fault.Fault{Kind: fault.ProcessKill, Node: node, Process: fault.Backend}, d.ended, up},
		struck{fault.Fault{Kind: fault.ProcessFreeze, Node: node, Process: fault.Backend}, frozen, d.lives},
		struck{fault.Fault{Kind: fault.RestartStorm, Node: node, Times: 2}, up, up},
		struck{fault.Fault{Kind: fault.DiskFull, Node: node}, full, up})
}

// lives is nil when the session that was open does its work.
func (d *drill) lives(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.session.Ping(ctx)
}

// ended is nil when the session that was open has ended.
func (d *drill) ended(ctx context.Context) error { return not(d.lives)(ctx) }

// strike makes a fault and heals it. What this machine cannot do is left out: the lab says
// why.
func (d *drill) strike(s struck) {
	d.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	if err := d.Able(s.Fault); err != nil {
		d.Logf("%s: not here: %v", s.Fault, err)
		return
	}
	if s.Node != "" {
		var err error
		if d.session, err = d.Mesh().Node(s.Node).Connect(ctx); err != nil {
			d.Fatal(err)
		}
		defer d.session.Close(d.Context()) //nolint:errcheck // the fault may have ended it
	}
	if s.Kind == fault.NATSLeaderLoss {
		d.await("somebody leads the stream", func(ctx context.Context) error { _, err := d.StreamLeader(ctx); return err })
	}
	if err := d.inject(ctx, s.Fault); err != nil || d.made.Proof == "" {
		d.Fatalf("%s: proof %q, error %v", s.Fault, d.made.Proof, err)
	}
	proven := time.Since(begin)
	if err := s.during(ctx); err != nil {
		d.Errorf("%s: it is not in force: %v (proof: %s)", s.Fault, err, d.made.Proof)
	}
	for range 2 { // once more changes nothing
		if err := d.made.Heal(ctx); err != nil {
			d.Fatal(err)
		}
	}
	d.await(s.String()+" is healed", s.after)
	d.Logf("%s: %s (%s, %s in all)", s.Fault, d.made.Proof, proven.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

// inject makes a fault. On a busy machine a node may be judged lost for a moment, and a
// fault find nothing to strike: then it waits until that is over.
func (d *drill) inject(ctx context.Context, f fault.Fault) (err error) {
	d.Helper()
	for range 3 {
		if d.made, err = fault.Inject(ctx, d.Lab, f); !errors.Is(err, fault.ErrMoot) {
			return err
		}
		if err := d.made.Heal(ctx); err != nil {
			return err
		}
		d.await("the cluster is healthy", d.Healthy)
	}
	return err
}

// write writes on a node until the test ends or stop is called.
func (d *drill) write(node string) (stop func()) {
	ctx, cancel := context.WithCancel(d.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = d.SQL(node).Exec(ctx, `insert into notes (node) values ('`+node+`')`) // it may be away
		}
	}()
	return func() { cancel(); <-done }
}

// TestFaults makes each kind of fault once on a real cluster, and sees that it is in force
// until it is healed. Those that a staging cluster can have are made by the command line
// too, with an interrupt in the middle. A node that comes back from a backup is kept out.
func TestFaults(t *testing.T) {
	d := startDrill(t)
	d.staging()
	d.interrupted()
	d.await("the cluster is healthy again", d.Healthy)
	var all []struck
	all = append(all, d.gentle()...)
	fenced := `select count(*)::text from pg_replication_origin where roname like 'healer:fence:%:n1:%'`
	all = append(all, struck{Fault: fault.Fault{Kind: fault.BackupRestore, Node: "n1"}, during: func(ctx context.Context) error {
		// It comes back when the others are fenced off from it, as a real one does.
		d.await("all are fenced off from n1", d.says("n2", fenced, "1"))
		d.await("all are fenced off from n1", d.says("n3", fenced, "1"))
		return not(d.answers("n1"))(ctx)
	}})
	all = append(all, d.rough("n2")...)
	for _, k := range fault.Kinds() {
		if k.Kind != fault.Command && !slices.ContainsFunc(all, func(s struck) bool { return s.Kind == k.Kind }) {
			t.Errorf("%s is never made", k.Kind)
		}
	}
	for _, s := range all {
		if s.Kind != fault.BackupRestore {
			d.strike(s)
			continue
		}
		d.await("the agents are at peace", d.Healthy)
		refused := make(chan string, 100)
		stop, err := d.Follow(string(events.RecoveryRefused), func(e events.Event) { refused <- e.Subject + " " + string(e.Data) })
		if err != nil {
			t.Fatal(err)
		}
		end := d.write("n1")
		s.after = func(ctx context.Context) error {
			for {
				select {
				case r := <-refused:
					if strings.HasPrefix(r, "n1 ") && strings.Contains(r, `"behind_watermark"`) {
						return nil
					}
				case <-ctx.Done():
					return errors.New("the node from the backup is not refused as behind_watermark")
				}
			}
		}
		d.strike(s)
		end()
		stop()
	}
}

// staged runs `healer chaos run` on the cluster as one of a user's.
func (d *drill) staged(ctx context.Context, schedule string, more ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	d.Helper()
	dir := d.TempDir()
	file, script := filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "drill.yaml")
	door, release, err := localpg.LeaseAddr(ctx)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(release)
	text := "name: drill\nproxies:\n  - {name: door, listen: \"" + door + "\", upstream: \"" + d.Mesh().Node("n1").Addr() + "\"}\nschedule:\n" + schedule
	for path, text := range map[string]string{file: d.File(), script: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			d.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "healer", append([]string{"chaos", "run", script, "--config", file, "--confirm", chaoslab.Cluster}, more...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, dir
	return cmd, &out, &errs
}

// staging makes what a staging cluster can have, and all is healed and healthy at the end.
func (d *drill) staging() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	defer cancel()
	sub := d.Subscription("n3", "n1")
	cmd, out, errs := d.staged(ctx, `
  - {for: 300ms, fault: link_cut, node: door, link: sql}
  - {at: 400ms, for: 300ms, fault: link_refuse, node: door, link: sql}
  - {at: 800ms, for: 300ms, fault: link_slow, node: door, link: replication, delay: 20ms}
  - {fault: backends_terminate, node: n2}
  - {for: 500ms, fault: subscription_disable, node: n3, subscription: `+sub+`}
  - {for: 500ms, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`, "-o", "json", "--settle", "90s")
	if err := cmd.Run(); err != nil {
		d.Fatalf("healer chaos run: %v\n%s%s", err, out, errs)
	}
	var told struct {
		Faults []struct {
			Kind  string `json:"kind"`
			Until int64  `json:"until"`
			Note  string `json:"note"`
		} `json:"faults"`
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	if len(told.Faults) != 6 {
		d.Errorf("%d faults were made, want 6: %s", len(told.Faults), out)
	}
	for _, f := range told.Faults {
		if f.Until == 0 && f.Kind != string(fault.BackendsTerminate) || f.Note == "" {
			d.Errorf("%s: ended at %d, proof %q", f.Kind, f.Until, f.Note)
		}
	}
	d.healed(cmd.Dir, sub)
}

// healed checks that nothing is left of the faults.
func (d *drill) healed(dir, sub string) {
	d.Helper()
	if _, err := os.Stat(filepath.Join(dir, "made")); !os.IsNotExist(err) {
		d.Errorf("what the command made is left: %v", err)
	}
	if err := d.says("n3", `select subenabled::text from pg_subscription where subname = '`+sub+`'`, "true")(d.Context()); err != nil {
		d.Error(err)
	}
}

// interrupted: a real SIGINT in the middle, and every fault is healed before the program
// ends.
func (d *drill) interrupted() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	defer cancel()
	sub := d.Subscription("n3", "n1")
	cmd, out, errs := d.staged(ctx, `
  - {for: 10m, fault: link_cut, node: door, link: sql}
  - {for: 10m, fault: subscription_disable, node: n3, subscription: `+sub+`}
  - {for: 10m, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`)
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.await("the faults are made", func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Join(cmd.Dir, "made")); err != nil {
			return err
		}
		return d.says("n3", `select subenabled::text from pg_subscription where subname = '`+sub+`'`, "false")(ctx)
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		d.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(errs.String(), "every fault was healed") {
		d.Errorf("exit code %d, want 130:\n%s%s", code, out, errs)
	}
	d.healed(cmd.Dir, sub)
}
