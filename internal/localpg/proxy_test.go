package localpg

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// echoServer answers each byte with itself, and ends a stream when its client
// does.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback+":0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func startProxy(t *testing.T, upstream string) *Proxy {
	t.Helper()
	p, err := StartProxy(upstream)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

func say(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	_, err := io.WriteString(conn, what)
	must(t, err)
}

func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	must(t, err)
	if string(got) != want {
		t.Fatalf("heard %q, want %q", got, want)
	}
}

// silent checks that nothing comes. Silence can only be seen by waiting; the
// wait is short because a byte that slips through is there at once.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) && !isTimeout(err) {
		t.Fatalf("read %d bytes, %v through a stalled network", n, err)
	}
	must(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestProxyStallKeepsConnectionsAndBytes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stall  []Direction
		passes bool
	}{
		{"both", []Direction{Up, Down}, false},
		{"up", []Direction{Up}, false},
		{"down", []Direction{Down}, false},
		{"none", nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startProxy(t, echoServer(t))
			conn := dial(t, p.Addr())
			say(t, conn, "before")
			hear(t, conn, "before")
			p.Stall(tc.stall...)
			say(t, conn, "during")
			if tc.passes {
				hear(t, conn, "during")
				return
			}
			silent(t, conn)
			must(t, p.Heal())
			hear(t, conn, "during")
			say(t, conn, "after")
			hear(t, conn, "after")
		})
	}
}

// Whatever is stalled and healed, and when: every byte arrives once, in order.
func TestProxyLosesNoByte(t *testing.T) {
	upstream := echoServer(t)
	rapid.Check(t, func(rt *rapid.T) {
		p, err := StartProxy(upstream)
		must(t, err)
		defer p.Close()
		conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(loopback), Port: p.Port()})
		must(t, err)
		defer func() { _ = conn.Close() }()
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		// A client that ends its stream before it got through has given up; this
		// one is through.
		said := []byte("x")
		say(t, conn, "x")
		hear(t, conn, "x")

		heard := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(conn)
			heard <- all
		}()
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"say", "say", "up", "down", "heal"}).Draw(rt, "step") {
			case "say":
				chunk := bytes.Repeat([]byte{byte(len(said))}, rapid.IntRange(1, 2000).Draw(rt, "bytes"))
				_, err := conn.Write(chunk)
				must(t, err)
				said = append(said, chunk...)
			case "up":
				p.Stall(Up)
			case "down":
				p.Stall(Down)
			case "heal":
				must(t, p.Heal())
			}
		}
		must(t, conn.CloseWrite())
		must(t, p.Heal())
		if got := <-heard; !bytes.Equal(got, said[1:]) {
			rt.Errorf("heard %d bytes after the first, said %d", len(got), len(said)-1)
		}
	})
}

func TestProxyStalledNetworkHidesTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", loopback+":0")
	must(t, err)
	defer func() { _ = l.Close() }()
	p := startProxy(t, l.Addr().String())
	conn := dial(t, p.Addr())
	server, err := l.Accept()
	must(t, err)
	p.Cut()
	must(t, server.Close())
	silent(t, conn)
	must(t, p.Heal())
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the heal: %d bytes, %v, want the end", n, err)
	}
}

func TestProxyCutThenConnect(t *testing.T) {
	p := startProxy(t, echoServer(t))
	p.Cut()
	patient, hasty := dial(t, p.Addr()), dial(t, p.Addr())
	say(t, patient, "hello")
	say(t, hasty, "hello")
	silent(t, patient)
	must(t, until(limit(t), func() bool { return p.Connections() == 2 }))
	must(t, hasty.Close())
	// Who gave up is forgotten, and does not reach the server later.
	must(t, until(limit(t), func() bool { return p.Connections() == 1 }))
	must(t, p.Heal())
	hear(t, patient, "hello")
	say(t, patient, "again")
	hear(t, patient, "again")
}

func TestProxySeverAndRefuse(t *testing.T) {
	p := startProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	say(t, conn, "x")
	hear(t, conn, "x")
	p.Sever()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a severed connection: %v, want a reset", err)
	}
	conn = dial(t, p.Addr())
	say(t, conn, "y")
	hear(t, conn, "y")
	p.Refuse()
	p.Refuse() // again changes nothing
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection after Refuse: %v, want a reset", err)
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection after Refuse: %v, want refused", err)
	}
	must(t, p.Heal())
	must(t, p.Heal()) // again changes nothing
	conn = dial(t, p.Addr())
	say(t, conn, "z")
	hear(t, conn, "z")
}

func TestProxySeverDropsWhatIsOnItsWay(t *testing.T) {
	p := startProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	say(t, conn, "x")
	hear(t, conn, "x")
	p.Stall(Down)
	say(t, conn, "lost")
	silent(t, conn)
	p.Sever()
	must(t, p.Heal())
	if n, err := conn.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v of a severed connection", n, err)
	}
}

func TestProxyDelay(t *testing.T) {
	p := startProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	say(t, conn, "x")
	hear(t, conn, "x")
	const delay = 30 * time.Millisecond
	p.Delay(delay)
	begin := time.Now()
	say(t, conn, "y")
	hear(t, conn, "y")
	if took := time.Since(begin); took < 2*delay {
		t.Errorf("there and back took %s, less than twice the delay", took)
	}
}

func TestProxyOfAServerThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", loopback+":0")
	must(t, err)
	must(t, l.Close())
	p := startProxy(t, l.Addr().String())
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil { // else the reset was there before the dialling had ended
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want a reset", err)
	}
}

// TestProxyOrphan: the client of a half-open connection hears nothing until it sends
// something, and then that the connection is reset.
func TestProxyOrphan(t *testing.T) {
	p := startProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	say(t, conn, "a")
	hear(t, conn, "a")
	p.Cut()
	if n := p.Orphan(); n != 1 {
		t.Fatalf("%d connections were orphaned, want 1", n)
	}
	say(t, conn, "b")
	silent(t, conn)
	must(t, p.Heal())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the orphan heard %v, want a reset", err)
	}
	fresh := dial(t, p.Addr())
	say(t, fresh, "c")
	hear(t, fresh, "c")
}

// TestProxyNarrow: bytes take their time, and Heal gives it back.
func TestProxyNarrow(t *testing.T) {
	p := startProxy(t, echoServer(t))
	conn := dial(t, p.Addr())
	p.Narrow(100)
	begin := time.Now()
	say(t, conn, "0123456789")
	hear(t, conn, "0123456789")
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("10 bytes there and back took %s at 100 bytes a second", took)
	}
	must(t, p.Heal())
	say(t, conn, "x")
	hear(t, conn, "x")
}
