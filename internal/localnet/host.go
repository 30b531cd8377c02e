package localnet

import (
	"context"
	"io"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Addr is the host's address on the network.
func (h *Host) Addr() string { return h.addr }

// Enter moves the calling thread to the host's network: it must be locked to its
// goroutine, and end with it. A nil host is this process's own network.
func (h *Host) Enter() error {
	if h == nil {
		return nil
	}
	return unix.Setns(h.ns, unix.CLONE_NEWNET)
}

// inside runs do on a thread in the host's network.
func (h *Host) inside(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in the other network
		err := h.Enter()
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// Serve takes connections at an address of the host, 127.0.0.1 among them, and passes
// them on to a server on this machine's loopback, until ctx ends. What happens on the
// network happens before it.
func (h *Host) Serve(ctx context.Context, addr, upstream string) error {
	l, err := h.Listen(ctx, addr)
	if err != nil {
		return err
	}
	pass(ctx, l, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", upstream)
	})
	return nil
}

// Expose takes connections at an address of this machine's loopback, and passes them
// on to a server inside the host, until ctx ends.
func (h *Host) Expose(ctx context.Context, addr, inside string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	pass(ctx, l, func(ctx context.Context) (net.Conn, error) { return h.Dial(ctx, inside) })
	return nil
}

// Listen takes TCP connections at an address of the host.
func (h *Host) Listen(ctx context.Context, addr string) (l net.Listener, err error) {
	err = h.inside(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp4", addr)
		return err
	})
	return l, err
}

// Dial makes a TCP connection from the host.
func (h *Host) Dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = h.inside(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", addr)
		return err
	})
	return conn, err
}

// pass relays what a listener takes to what dial reaches.
func pass(ctx context.Context, l net.Listener, dial func(context.Context) (net.Conn, error)) {
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go relay(ctx, client, dial)
		}
	}()
}

func relay(ctx context.Context, client net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer client.Close() //nolint:errcheck // it is over
	server, err := dial(ctx)
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
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
