package attack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/api"
	"healer/internal/localpg"
	"healer/topology"
)

// cluster is a mesh with an agent process beside each server.
type cluster struct {
	*lab
	program, file string
	// failpoint is the file that says where the next agent is to die.
	failpoint  string
	apis, dirs map[string]string
	agents     map[string]*process
}

// process is a running agent.
type process struct {
	pid  int
	done chan error
	// ended is when it had ended, as soon as done says so.
	ended time.Time
}

// newCluster starts that many servers, and the agents, with more lines of their file.
func newCluster(t *testing.T, nodes int, settings ...string) *cluster {
	t.Helper()
	program := filepath.Join(t.TempDir(), "healer")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", program, "healer/cmd/healer").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	c := &cluster{
		lab:     bareLab(t, localpg.Options{Nodes: nodes, Schema: []string{small}, Links: true}),
		program: program, file: filepath.Join(t.TempDir(), "cluster.yaml"),
		failpoint: filepath.Join(t.TempDir(), "failpoint"),
		apis:      map[string]string{}, dirs: map[string]string{}, agents: map[string]*process{},
	}
	c.exec(lost, seed)
	c.caughtUp()
	for _, n := range c.m.Names() {
		c.exec(n, `select pg_create_logical_replication_slot('`+allSlot+`', 'pgoutput')`)
	}
	c.exec(laggard, `select pg_create_logical_replication_slot('`+ownSlot+`', 'pgoutput')`)
	var b strings.Builder
	// What is killed over and over on purpose is not to be held down for it.
	b.WriteString("cluster: attack\ndetection: {flap_after: 1000}\n" + strings.Join(settings, "\n") + "\nnodes:\n")
	addrs := freeAddrs(t, 4*len(c.m.Names()))
	for i, n := range c.m.Names() {
		free := addrs[4*i:]
		c.apis[n], c.dirs[n] = free[0], t.TempDir()
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: %q\n    api: %q\n    nats: {client: %q, cluster: %q}\n",
			n, c.m.Node(n).DSN(), free[1], c.apis[n], free[2], free[3])
	}
	c.must(os.WriteFile(c.file, []byte(b.String()), 0o600))
	t.Cleanup(func() {
		for n := range c.agents {
			c.kill(n)
		}
		for n := range c.dirs {
			if t.Failed() {
				t.Logf("log of agent %s:\n%s", n, c.tail(n, 80))
			}
		}
	})
	for _, n := range c.m.Names() {
		c.start(n)
	}
	return c
}

// freeAddrs are addresses on which nobody listens now, each found once, below the
// ports that the kernel gives to outgoing connections: nobody else takes them while
// an agent is dead.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	const first, last = 28001, 31999
	var addrs []string
	for _, i := range rand.Perm(last - first) {
		addr := fmt.Sprintf("127.0.0.1:%d", first+i)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		if addrs = append(addrs, addr); len(addrs) == n {
			return addrs
		}
	}
	t.Fatalf("only %d of %d ports are free", len(addrs), n)
	return nil
}

func (c *cluster) logFile(node string) string { return filepath.Join(c.dirs[node], "log") }

// tail is the end of an agent's log, without what its NATS server says of the dead;
// of one that crashed, how.
func (c *cluster) tail(node string, lines int) string {
	log, _ := os.ReadFile(c.logFile(node))
	own := slices.DeleteFunc(strings.Split(string(log), "\n"), func(line string) bool {
		return strings.Contains(line, "component=nats-server")
	})
	crash := slices.IndexFunc(own, func(line string) bool {
		return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "runtime: ")
	})
	if crash >= 0 {
		return strings.Join(own[crash:min(len(own), crash+lines)], "\n")
	}
	return strings.Join(own[max(0, len(own)-lines):], "\n")
}

// start starts an agent. The kernel kills it when the thread ends that made it, so
// the thread is kept for as long as the agent lives.
func (c *cluster) start(node string) {
	c.Helper()
	log, err := os.OpenFile(c.logFile(node), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	c.must(err)
	cmd := exec.Command(c.program, "agent", "--config", c.file, "--node", node, "--data-dir", filepath.Join(c.dirs[node], "data")) //nolint:noctx // it is killed by hand
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HEALER_FAILPOINT="+c.failpoint)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	p := &process{done: make(chan error, 1)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
			p.ended = time.Now()
			p.done <- err
		}
	}()
	c.must(<-started)
	p.pid = cmd.Process.Pid
	c.agents[node] = p
}

// kill ends an agent without a chance to say anything.
func (c *cluster) kill(node string) {
	c.Helper()
	p := c.agents[node]
	delete(c.agents, node)
	select {
	case err := <-p.done: // its number may be another's by now
		c.Errorf("agent %s had ended by itself: %v", node, err)
	default:
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		<-p.done //nolint:errcheck // it says that it was killed
	}
}

// await waits for longer than the lab does: a recovery that failed on the way is
// tried again after pauses.
func (c *cluster) await(what string, check func() error) {
	c.Helper()
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for err := check(); err != nil; err = check() {
		if time.Since(begin) > 2*patience {
			c.Fatalf("it did not come to pass that %s: %v", what, err)
		}
		<-tick.C
	}
}

// healthy: every agent says that all is well.
func (c *cluster) healthy() {
	c.Helper()
	c.await("every agent sees a healthy cluster", func() error {
		for _, n := range c.m.Names() {
			ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
			s, err := api.FetchStatus(ctx, http.DefaultClient, c.apis[n])
			cancel()
			if err != nil {
				return err
			}
			if s.State != api.Healthy {
				return fmt.Errorf("%s is %s: %v %+v", n, s.State, s.Reasons, s.Refusals)
			}
			recovery := 0
			for _, slot := range s.Slots {
				if slot.Kind == topology.SlotRecovery {
					recovery++
				}
			}
			if nodes := len(c.m.Names()); recovery != nodes*(nodes-1) {
				return fmt.Errorf("%s sees %d recovery slots", n, recovery)
			}
		}
		return nil
	})
}

// count runs a query that may fail while servers are down.
func (c *cluster) count(node, sql string) error {
	n, err := localpg.Value[int64](c.Context(), c.m.Node(node), sql)
	if err == nil && n != 0 {
		err = fmt.Errorf("%d on %s: %s", n, node, sql)
	}
	return err
}

// leftovers is what no finished recovery leaves, whether the node is back or not.
const leftovers = `select (select count(*) from pg_replication_slots where slot_name like 'healer%')
	+ (select count(*) from pg_replication_origin where roname like 'healer:gap:%')
	+ (select count(*) from pg_locks where locktype = 'advisory')`

// survivors are all but the node that is lost.
func (c *cluster) survivors() []string {
	return slices.DeleteFunc(slices.Clone(c.m.Names()), func(n string) bool { return n == lost })
}

// recovered: the survivors are at one watermark behind their fences, and nothing
// else is left.
func (c *cluster) recovered() {
	c.Helper()
	c.await("the survivors are healed", func() error {
		at := map[string]string{}
		for _, n := range c.survivors() {
			err := errors.Join(c.count(n, leftovers), c.count(n, `select 1 - count(*) from pg_replication_origin where roname like 'healer:fence:%'`))
			if err != nil {
				return err
			}
			if at[n], err = localpg.Value[string](c.Context(), c.m.Node(n), `select remote_lsn::text from pg_replication_origin_status
				where external_id = (select 'pg_' || oid from pg_subscription where subname = '`+localpg.SubscriptionName(n, lost)+`')`); err != nil {
				return err
			}
		}
		for _, n := range c.survivors() {
			if at[n] != at[source] {
				return fmt.Errorf("progress: %v", at)
			}
		}
		return nil
	})
}

// strikes ends agents and servers at random moments, and lets them come back.
func (c *cluster) strikes(dice *rand.Rand, returning bool) {
	for range 1 + dice.IntN(4) {
		<-time.After(time.Duration(dice.IntN(900)) * time.Millisecond)
		node := []string{source, laggard}[dice.IntN(2)]
		switch dice.IntN(5) {
		case 0:
			c.Logf("kill the server of %s", node)
			c.must(c.m.Kill(c.Context(), node))
			<-time.After(time.Duration(dice.IntN(800)) * time.Millisecond)
			c.must(c.m.Node(node).Start(c.Context()))
		case 1:
			c.Logf("cut off the apply session on %s", laggard)
			_, _ = localpg.Column[bool](c.Context(), c.m.Node(laggard), `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'`)
		default:
			c.Logf("kill the agent of %s", node)
			c.kill(node)
			<-time.After(time.Duration(dice.IntN(400)) * time.Millisecond)
			c.start(node)
		}
		if returning && dice.IntN(2) == 0 && !c.m.Node(lost).Running() {
			c.Logf("%s returns", lost)
			c.must(c.m.Node(lost).Start(c.Context()))
		}
	}
}

// TestAgentsKilled kills what coordinates, and what it works on, at random moments
// of several recoveries of one cluster.
func TestAgentsKilled(t *testing.T) {
	c := newCluster(t, 3)
	dice := random(t)
	for round := range rounds(t, 2) {
		c.sub(fmt.Sprint(round), func(l *lab) {
			c := *c
			c.lab = l
			c.round(dice, round%2 == 1)
		})
		if t.Failed() {
			return
		}
	}
}

func (c *cluster) round(dice *rand.Rand, returning bool) {
	c.healthy()
	g := gap{Floor: c.progress(laggard, false), SourceOrigin: c.origin(source, lost)}
	c.m.Link(lost, laggard).Cut()
	for range 40 {
		*c.gaps++
		for _, tx := range mixed(*c.gaps) {
			c.exec(lost, tx)
		}
	}
	c.caughtUp(lost, source)
	g.Watermark = c.progress(source, false)
	c.lose()
	c.strikes(dice, returning)
	if !returning {
		c.recovered()
	}
	if !c.m.Node(lost).Running() {
		c.must(c.m.Node(lost).Start(c.Context()))
	}
	c.healthy()
	c.whole(g)
}

// whole waits until no recovery has left anything, and compares what the gap touched.
func (c *cluster) whole(g gap) {
	c.Helper()
	c.nothingLeft()
	c.compare(g)
}

// TestDoubtfulProgressIsNotTrusted ends an agent at the worst of moments, with the
// position of the gap's last transaction set and its COMMIT not sent: PostgreSQL
// moves the laggard's progress all the same. Then the source dies as well, and the
// lost node returns, from which the laggard would go on behind a transaction that
// it does not have.
func TestDoubtfulProgressIsNotTrusted(t *testing.T) {
	c := newCluster(t, 3)
	c.healthy()
	g := gap{Floor: c.progress(laggard, false), SourceOrigin: c.origin(source, lost)}
	c.m.Link(lost, laggard).Cut()
	c.exec(lost, mixed(1)[0])
	c.caughtUp(lost, source)
	g.Watermark = c.progress(source, false)
	for _, n := range c.m.Names() {
		c.kill(n)
	}
	c.lose()
	// What the agents would have done so far.
	for _, n := range []string{source, laggard} {
		sub := localpg.SubscriptionName(n, lost)
		c.exec(n, `alter subscription `+sub+` disable; select pg_replication_origin_create(
			'healer:fence:app:' || oid || ':n1:0:0') from pg_subscription where subname = '`+sub+`'`)
	}
	c.eventually("the laggard's worker has ended", func() error {
		return c.zero(laggard, `select count(*) from pg_stat_subscription where pid is not null and subname = '`+localpg.SubscriptionName(laggard, lost)+`'`)
	})
	c.exec(laggard, fmt.Sprintf(`select pg_replication_origin_create('healer:gap:app:n1:%X:%X')`, uint64(g.Floor), uint64(g.Watermark)))
	conn, err := c.m.Node(laggard).Connect(t.Context())
	c.must(err)
	c.must(conn.PgConn().Exec(t.Context(), fmt.Sprintf(`select pg_replication_origin_session_setup('%s'); begin;
		update t set v = v + 1 where id = 1; select pg_replication_origin_xact_setup('%s', now())`, c.origin(laggard, lost), g.Watermark)).Close())
	c.must(conn.Close(t.Context()))
	c.eventually("the abort has moved the progress", func() error {
		if at := c.progress(laggard, false); at != g.Watermark {
			return fmt.Errorf("it is %s, not %s", at, g.Watermark)
		}
		return nil
	})

	c.must(c.m.Kill(c.Context(), source))
	c.must(c.m.Node(lost).Start(c.Context()))
	for _, n := range c.m.Names() {
		c.start(n)
	}
	c.await("the doubt is told", func() error {
		ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
		defer cancel()
		s, err := api.FetchStatus(ctx, http.DefaultClient, c.apis[laggard])
		if err != nil {
			return err
		}
		if s.Last == nil || s.Last.State != api.RecoveryFailed || !strings.Contains(s.Last.Error, "whether it was committed") {
			return fmt.Errorf("last recovery: %+v, refusals: %+v", s.Last, s.Refusals)
		}
		return nil
	})
	c.must(c.count(laggard, `select 1 - count(*) from pg_subscription where not subenabled and subname = '`+localpg.SubscriptionName(laggard, lost)+`'`))

	c.must(c.m.Node(source).Start(c.Context()))
	c.healthy()
	c.caughtUp()
	c.compare(g)
}

// lose kills the node to be lost, and with it what was on its way to the laggard.
func (c *cluster) lose() {
	c.Helper()
	c.must(c.m.Kill(c.Context(), lost))
	c.m.Link(lost, laggard).Sever()
	c.must(c.m.Heal())
}

// compare reads the servers after a round.
func (c *cluster) compare(g gap) {
	c.Helper()
	c.equal(g)
	of := c.committed(source, g)
	for _, n := range c.survivors()[1:] {
		if diff := cmp.Diff(of, c.committed(n, g)); diff != "" {
			c.Errorf("transactions on the source (-) and on %s (+):\n%s", n, diff)
		}
	}
}

// equal compares all rows, with the times at which they were written, and what the mesh
// would forward.
func (c *cluster) equal(g gap) {
	c.Helper()
	for _, n := range c.survivors() {
		for _, t := range []string{"t", "u"} {
			if diff := cmp.Diff(c.rows(lost, t, true), c.rows(n, t, true)); diff != "" {
				c.Errorf("table %s on %s (-) and on %s (+):\n%s", t, lost, n, diff)
			}
		}
		if got := c.progress(n, false); got < g.Watermark {
			c.Errorf("progress of %s is %s, behind %s", n, got, g.Watermark)
		}
	}
	if got := c.messages(laggard, ownSlot, "none"); len(got) != 0 {
		c.Errorf("the mesh would forward %d messages", len(got))
	}
}
