package localnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Network is a few hosts, each a namespace with one interface: a TUN device that
// this process reads and writes.
type Network struct {
	hosts map[string]*Host
	byIP  map[[4]byte]*Host

	mu    sync.RWMutex
	rules func(Packet) Fate
}

// Packet is what a rule knows of a packet. Ports are 0 where there are none.
type Packet struct {
	From, To         string
	UDP              bool
	FromPort, ToPort uint16
}

// Fate is what becomes of a packet.
type Fate struct {
	// Lost is the share of packets that do not arrive.
	Lost  float64
	Delay time.Duration
}

// Host is one namespace.
type Host struct {
	name string
	addr string
	ns   int
	tun  *os.File
	out  chan []byte
	net  *Network
}

// Able is nil where this process may make such networks. It says what is missing
// otherwise.
func Able() error {
	n, err := New([]string{"a"})
	if err != nil {
		return err
	}
	n.Close()
	return nil
}

// New makes hosts of these names: root, and /dev/net/tun, are needed. Close ends them.
func New(names []string) (*Network, error) {
	n := &Network{hosts: map[string]*Host{}, byIP: map[[4]byte]*Host{}}
	n.Heal()
	for i, name := range names {
		ip := [4]byte{10, 77, 0, byte(i + 1)}
		h := &Host{name: name, addr: net.IP(ip[:]).String(), ns: -1, net: n, out: make(chan []byte, 1<<14)}
		made := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine: it is in the other network
			made <- h.make(ip)
		}()
		if err := <-made; err != nil {
			h.close()
			n.Close()
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

// Host is the host of a name, or nil.
func (n *Network) Host(name string) *Host { return n.hosts[name] }

// Close ends the hosts. What still runs in them is cut off for ever.
func (n *Network) Close() {
	for _, h := range n.hosts {
		h.close()
	}
}

// Heal ends all faults.
func (n *Network) Heal() { n.Rule(func(Packet) Fate { return Fate{} }) }

// Rule sets what becomes of packets from now on.
func (n *Network) Rule(f func(Packet) Fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = f
}

func (h *Host) close() {
	if h.tun != nil {
		_ = h.tun.Close()
	}
	if h.ns >= 0 {
		_ = unix.Close(h.ns)
	}
}

// make makes the namespace and its interfaces.
func (h *Host) make(ip [4]byte) error {
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
		return errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
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

// receive takes what the host sends, and gives it to whom it is for.
func (h *Host) receive() {
	buf := make([]byte, 1<<16)
	for {
		size, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		raw := buf[:size]
		p, to, ok := h.parse(raw)
		if !ok {
			continue
		}
		h.net.mu.RLock()
		f := h.net.rules(p)
		h.net.mu.RUnlock()
		if f.Lost > 0 && rand.Float64() < f.Lost {
			continue
		}
		data := append([]byte(nil), raw...)
		if f.Delay > 0 {
			time.AfterFunc(f.Delay, func() { to.take(data) })
			continue
		}
		to.take(data)
	}
}

// parse reads the headers of a packet; false for one that is for nobody here.
func (h *Host) parse(raw []byte) (Packet, *Host, bool) {
	if len(raw) < 20 || raw[0]>>4 != 4 {
		return Packet{}, nil, false
	}
	to, ok := h.net.byIP[[4]byte(raw[16:20])]
	if !ok {
		return Packet{}, nil, false
	}
	p := Packet{From: h.name, To: to.name, UDP: raw[9] == unix.IPPROTO_UDP}
	if head := int(raw[0]&15) * 4; (p.UDP || raw[9] == unix.IPPROTO_TCP) && len(raw) >= head+4 {
		p.FromPort, p.ToPort = binary.BigEndian.Uint16(raw[head:]), binary.BigEndian.Uint16(raw[head+2:])
	}
	return p, to, true
}

// take queues a packet for the host, unless the queue is full, as a router's may be.
func (h *Host) take(data []byte) {
	select {
	case h.out <- data:
	default:
	}
}

// deliver gives the host what is for it.
func (h *Host) deliver() {
	for data := range h.out {
		if _, err := h.tun.Write(data); err != nil && !os.IsTimeout(err) {
			return
		}
	}
}
