package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/fault"
	"healer/events"
	"healer/internal/chaoslab"
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
		Nodes: 3, Majors: []int{pgtest.Major(t)}, Program: program, Dir: dir,
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
