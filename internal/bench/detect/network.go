package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// network is a few hosts whose packets all pass through this process, which loses
// and delays them as it is told. Each host is a network namespace with one
// interface, a TUN device that this process reads and writes: what is lost is lost
// without a word to anybody, TCP and UDP alike, as on a real network.
type network struct {
	hosts map[string]*host
	byIP  map[[4]byte]*host

	mu    sync.RWMutex
	rules func(from, to string, udp bool) fate
}

// fate is what becomes of a packet.
type fate struct {
	// lost is the share of packets that do not arrive.
	lost  float64
	delay time.Duration
}

// host is one namespace.
type host struct {
	name string
	addr string
	ns   int
	tun  *os.File
	out  chan parcel
	net  *network
}

// parcel is a packet that is due at a time.
type parcel struct {
	due  time.Time
	data []byte
}

// serverPort is where the servers are reached on their hosts.
const serverPort = 5432

// newNetwork makes hosts of these names: root, and /dev/net/tun, are needed.
func newNetwork(names []string) (*network, error) {
	n := &network{hosts: map[string]*host{}, byIP: map[[4]byte]*host{}}
	n.heal()
	for i, name := range names {
		ip := [4]byte{10, 77, 0, byte(i + 1)}
		h := &host{name: name, addr: net.IP(ip[:]).String(), net: n, out: make(chan parcel, 1<<14)}
		made := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine: it is in the other network
			made <- h.make(ip)
		}()
		if err := <-made; err != nil {
			n.close()
			return nil, fmt.Errorf("host %s needs root and /dev/net/tun: %w", name, err)
		}
		n.hosts[name], n.byIP[ip] = h, h
	}
	for _, h := range n.hosts {
		go h.receive()
		go h.deliver()
	}
	return n, nil
}

func (n *network) close() {
	for _, h := range n.hosts {
		_ = h.tun.Close()
		_ = unix.Close(h.ns)
	}
}

// heal ends all faults.
func (n *network) heal() { n.rule(func(string, string, bool) fate { return fate{} }) }

// rule sets what becomes of packets from now on.
func (n *network) rule(f func(from, to string, udp bool) fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = f
}

// make makes the namespace and its interfaces.
func (h *host) make(ip [4]byte) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	var err error
	if h.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("tun0")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	h.tun = os.NewFile(uintptr(fd), "tun "+h.name)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s) //nolint:errcheck // it only configures
	if err := configure(s, "tun0", ip); err != nil {
		return err
	}
	return raise(s, "lo")
}

// configure gives an interface an address in a network of 256, and raises it.
func configure(s int, name string, ip [4]byte) error {
	for _, set := range []struct {
		req  uint
		what [4]byte
	}{{unix.SIOCSIFADDR, ip}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ifr.SetInet4Addr(set.what[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, set.req, ifr); err != nil {
			return fmt.Errorf("address of %s: %w", name, err)
		}
	}
	return raise(s, name)
}

func raise(s int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("raise %s: %w", name, err)
	}
	return nil
}

// enter moves the calling thread to the host's network; a nil host is this
// process's own.
func (h *host) enter() error {
	if h == nil {
		return nil
	}
	return unix.Setns(h.ns, unix.CLONE_NEWNET)
}

// receive takes what the host sends, and gives it to whom it is for.
func (h *host) receive() {
	buf := make([]byte, 1<<16)
	for {
		size, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		p := buf[:size]
		if size < 20 || p[0]>>4 != 4 {
			continue
		}
		to, ok := h.net.byIP[[4]byte(p[16:20])]
		if !ok {
			continue
		}
		h.net.mu.RLock()
		f := h.net.rules(h.name, to.name, p[9] == unix.IPPROTO_UDP)
		h.net.mu.RUnlock()
		if f.lost > 0 && rand.Float64() < f.lost { //nolint:gosec // no secret
			continue
		}
		data := make([]byte, size)
		copy(data, p)
		select {
		case to.out <- parcel{time.Now().Add(f.delay), data}:
		default: // the queue is full, as a router's may be
		}
	}
}

// deliver gives the host what is for it, when it is due.
func (h *host) deliver() {
	for p := range h.out {
		if d := time.Until(p.due); d > 0 {
			<-time.After(d)
		}
		if _, err := h.tun.Write(p.data); err != nil && !isAgain(err) {
			return
		}
	}
}

func isAgain(err error) bool { return os.IsTimeout(err) }

// serve passes connections to the host's server port on to a server on this
// machine's loopback. What happens on the network happens before it.
func (h *host) serve(ctx context.Context, upstream string) error {
	listening := make(chan error)
	var l net.Listener
	go func() {
		runtime.LockOSThread()
		err := h.enter()
		if err == nil {
			l, err = new(net.ListenConfig).Listen(ctx, "tcp4", fmt.Sprintf("%s:%d", h.addr, serverPort))
		}
		listening <- err
	}()
	if err := <-listening; err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go relay(ctx, client, upstream)
		}
	}()
	return nil
}

func relay(ctx context.Context, client net.Conn, upstream string) {
	defer client.Close() //nolint:errcheck // it is over
	server, err := new(net.Dialer).DialContext(ctx, "tcp", upstream)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // it is over
	ended := make(chan struct{}, 2)
	pipe := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		ended <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-ended
}
