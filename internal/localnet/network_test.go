package localnet

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestNetwork loses and delays packets between two hosts. Where no network can be
// made the reason is said, and nothing else is asked for.
func TestNetwork(t *testing.T) {
	if err := Able(); err != nil {
		if err.Error() == "" {
			t.Error("it is not said what is missing")
		}
		return
	}
	n, err := New([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	echo, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	b := n.Host("b")
	if err := b.Serve(ctx, b.Addr()+":700", echo.Addr().String()); err != nil {
		t.Fatal(err)
	}
	// Through the host and out of it again.
	free, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := free.Addr().String()
	_ = free.Close()
	if err := b.Expose(ctx, door, b.Addr()+":700"); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte("door")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatalf("through the door: %v", err)
	}
	ask := func(within time.Duration) error {
		dial, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		c, err := n.Host("a").Dial(dial, b.Addr()+":700")
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(within))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	if err := ask(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	n.Rule(func(p Packet) Fate {
		if p.From == "b" && !p.UDP && p.FromPort == 700 {
			return Fate{Lost: 1}
		}
		return Fate{}
	})
	var timeout net.Error
	if err := ask(300 * time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("what is lost ends with %v", err)
	}
	n.Rule(func(Packet) Fate { return Fate{Delay: 50 * time.Millisecond} })
	begin := time.Now()
	if err := ask(20 * time.Second); err != nil || time.Since(begin) < 200*time.Millisecond {
		t.Fatalf("four packets of 50 ms took %s: %v", time.Since(begin), err)
	}
}
