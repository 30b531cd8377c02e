package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/fault"
	"healer/internal/chaoslab"
	"healer/internal/localpg"
)

// performance is a run of `healer chaos run` on the cluster as one of a user's.
type performance struct {
	*exec.Cmd

	drill     *drill
	out, errs bytes.Buffer
	// sub is n3's subscription to n1; doors are where the proxies to n1 listen.
	sub   string
	doors map[string]string
}

// perform makes a run with a proxy to n1 for each door. SUB in the schedule is n3's
// subscription to n1.
func (d *drill) perform(doors []string, schedule string, more ...string) *performance {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	d.Cleanup(cancel)
	p := &performance{drill: d, sub: d.Subscription("n3", "n1"), doors: map[string]string{}}
	text := "name: drill\nproxies:\n"
	for _, name := range doors {
		addr, release, err := localpg.LeaseAddr(ctx)
		if err != nil {
			d.Fatal(err)
		}
		d.Cleanup(release)
		p.doors[name] = addr
		text += fmt.Sprintf("  - {name: %s, listen: %q, upstream: %q}\n", name, addr, d.Mesh().Node("n1").Addr())
	}
	text += "schedule:" + strings.ReplaceAll(schedule, "SUB", p.sub)
	dir := d.TempDir()
	file, script := filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "drill.yaml")
	for path, text := range map[string]string{file: d.File(), script: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			d.Fatal(err)
		}
	}
	p.Cmd = exec.CommandContext(ctx, "healer", append([]string{"chaos", "run", script, "--config", file, "--confirm", chaoslab.Cluster}, more...)...)
	p.Stdout, p.Stderr, p.Dir = &p.out, &p.errs, dir
	return p
}

// through opens a session on n1 through a door; one that gives nothing takes 2 s.
func (p *performance) through(ctx context.Context, door string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := pgx.ParseConfig(p.drill.Mesh().Node("n1").DSN())
	if err != nil {
		return nil, err
	}
	at, err := net.ResolveTCPAddr("tcp", p.doors[door])
	if err != nil {
		return nil, err
	}
	c.Host, c.Port = at.IP.String(), uint16(at.Port) //nolint:gosec // a port
	return pgx.ConnectConfig(ctx, c)
}

// opens is nil when a session can be opened through a door.
func (p *performance) opens(door string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := p.through(ctx, door)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
}

// enter opens a session through a door as soon as that is there.
func (p *performance) enter(door string) (session *pgx.Conn) {
	p.drill.Helper()
	p.drill.await("a session through "+door, func(ctx context.Context) (err error) {
		session, err = p.through(ctx, door)
		return err
	})
	p.drill.Cleanup(func() { _ = session.PgConn().Conn().Close() })
	return session
}

// gone is nil when n1 has no such session any more.
func (p *performance) gone(session *pgx.Conn) func(context.Context) error {
	return p.drill.says("n1", fmt.Sprintf(`select count(*)::text from pg_stat_activity where pid = %d`, session.PgConn().PID()), "0")
}

// hears is what the client of an idle session hears within a time.
func hears(session *pgx.Conn, within time.Duration) error {
	conn := session.PgConn().Conn()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

// staging makes what a staging cluster can have, and all is healed and healthy at the end.
func (d *drill) staging() {
	d.Helper()
	p := d.perform([]string{"cut", "refuse", "slow", "narrow", "half"}, `
  - {for: 300ms, fault: link_cut, node: cut, link: sql}
  - {for: 300ms, fault: link_refuse, node: refuse, link: sql}
  - {for: 300ms, fault: link_slow, node: slow, link: replication, delay: 20ms}
  - {for: 300ms, fault: link_narrow, node: narrow, link: replication, rate: 90}
  - {for: 300ms, fault: link_half_open, node: half, link: sql}
  - {fault: backends_terminate, node: n2}
  - {for: 500ms, fault: subscription_disable, node: n3, subscription: SUB}
  - {for: 500ms, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`, "-o", "json", "--settle", "90s")
	if err := p.Run(); err != nil {
		d.Fatalf("healer chaos run: %v\n%s%s", err, &p.out, &p.errs)
	}
	var told struct {
		Faults []struct {
			Kind  string `json:"kind"`
			Until int64  `json:"until"`
			Note  string `json:"note"`
		} `json:"faults"`
	}
	if err := json.Unmarshal(p.out.Bytes(), &told); err != nil {
		d.Fatalf("%v: %s", err, &p.out)
	}
	if len(told.Faults) != 8 {
		d.Errorf("%d faults were made, want 8: %s", len(told.Faults), &p.out)
	}
	for _, f := range told.Faults {
		if f.Until == 0 && f.Kind != string(fault.BackendsTerminate) || f.Note == "" {
			d.Errorf("%s: ended at %d, proof %q", f.Kind, f.Until, f.Note)
		}
	}
	p.healed()
}

// healed checks that nothing is left of the faults.
func (p *performance) healed() {
	d := p.drill
	d.Helper()
	if _, err := os.Stat(filepath.Join(p.Dir, "made")); !os.IsNotExist(err) {
		d.Errorf("what the command made is left: %v", err)
	}
	if err := p.enabled("true")(d.Context()); err != nil {
		d.Error(err)
	}
}

// enabled is nil when the subscription is so.
func (p *performance) enabled(want string) func(context.Context) error {
	return p.drill.says("n3", `select subenabled::text from pg_subscription where subname = '`+p.sub+`'`, want)
}

// interrupted: links with sessions on them break, each in its own way; some are whole
// again in their time. A real SIGINT in the middle, and every fault is healed before the
// program ends.
func (d *drill) interrupted() {
	d.Helper()
	p := d.perform([]string{"cut", "narrow", "narrowed", "half", "halved", "reset"}, `
  - {for: 10m, fault: link_cut, node: cut, link: sql}
  - {for: 10m, fault: link_narrow, node: narrow, link: replication, rate: 20}
  - {for: 300ms, fault: link_narrow, node: narrowed, link: replication, rate: 20}
  - {after: slot.created, for: 10m, fault: link_half_open, node: half, link: sql}
  - {after: slot.created, for: 300ms, fault: link_half_open, node: halved, link: sql}
  - {after: slot.created, fault: link_reset, node: reset, link: sql}
  - {after: slot.created, for: 10m, fault: subscription_disable, node: n3, subscription: SUB}
  - {after: slot.created, for: 10m, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`)
	if err := p.Start(); err != nil {
		d.Fatal(err)
	}
	half, halved, reset := p.enter("half"), p.enter("halved"), p.enter("reset")
	// The keeper makes the slot anew, and tells.
	d.await("the slot is dropped", func(ctx context.Context) error {
		return d.SQL("n2").Exec(ctx, `select pg_drop_replication_slot('`+d.Slot("n2", "n1", true)+`')`)
	})
	d.await("the faults are made", func(ctx context.Context) error {
		_, err := os.Stat(filepath.Join(p.Dir, "made"))
		return errors.Join(err, p.enabled("false")(ctx))
	})
	if err := hears(reset, 90*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		d.Errorf("the session was not reset: %v", err)
	}
	d.await("the link that was reset is whole", p.opens("reset"))
	for _, session := range []*pgx.Conn{half, halved} {
		d.await("n1 has lost the session", p.gone(session))
	}
	if err := hears(half, 300*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		d.Errorf("the client hears of the end of its session: %v", err)
	}
	var all sync.WaitGroup
	for _, door := range []string{"cut", "narrow", "half"} {
		all.Go(func() {
			if p.opens(door)(d.Context()) == nil {
				d.Errorf("%s lets a session through", door)
			}
		})
	}
	all.Wait()
	d.await("the narrow link is wide again", p.opens("narrowed"))
	d.await("the half-open link is whole again", p.opens("halved"))
	if err := p.Process.Signal(os.Interrupt); err != nil {
		d.Fatal(err)
	}
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != 130 || !strings.Contains(p.errs.String(), "every fault was healed") {
		d.Errorf("exit code %d, want 130:\n%s%s", code, &p.out, &p.errs)
	}
	for _, f := range []string{
		"link_cut node=cut", "link_narrow node=narrow", "link_narrow node=narrowed", "link_half_open node=half",
		"link_half_open node=halved", "link_reset node=reset", "subscription_disable node=n3", "command node=n2",
	} {
		for _, said := range []string{": .+", " ends"} {
			if !regexp.MustCompile(f + " .*" + said + `\n`).Match(p.errs.Bytes()) {
				d.Errorf("nothing is said of %q%s:\n%s", f, said, &p.errs)
			}
		}
	}
	if err := hears(half, 90*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		d.Errorf("the end of the proxies did not end the session: %v", err)
	}
	p.healed()
}
