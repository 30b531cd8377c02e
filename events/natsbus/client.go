package natsbus

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/topology"
)

// DialOptions says how to reach NATS.
type DialOptions struct {
	// Cluster is the name of Healer's cluster.
	Cluster string
	// Name is how the connection is called in NATS' own listings.
	Name string
	// URLs are the servers, the preferred one first.
	URLs []string
	// InProcess, when set, is the embedded server (a *Server); URLs is then
	// not used.
	InProcess nats.InProcessConnProvider
	// Fixed keeps to URLs: what servers tell of others is not followed.
	Fixed bool
	// Access is how the servers know this client, and it them.
	Access Access
	// Log gets what happens to the connection. Nil discards it.
	Log *slog.Logger
}

// Client is a connection to the events of a cluster. It implements
// events.Subscriber.
type Client struct {
	cluster string
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger

	// up is told when the connection is there again; it never blocks.
	up func()

	// ctx ends when the client is closed; it ends every subscription.
	ctx    context.Context
	cancel context.CancelFunc
	// mu keeps a goroutine from starting when Close waits for them already.
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
	// refusal is why the last try to connect failed.
	refusal error
	// reconnected is closed, and replaced, when a connection is made.
	reconnected chan struct{}
}

// Dial connects. It does not fail when no server answers: the connection is
// then made in the background, forever, and Connected tells.
func Dial(ctx context.Context, o DialOptions) (*Client, error) { return dial(ctx, o, func() {}) }

func dial(ctx context.Context, o DialOptions, up func()) (*Client, error) {
	if err := events.CheckCluster(o.Cluster); err != nil {
		return nil, &topology.Fault{Code: "nats_options", Hint: "rename the cluster", Err: err}
	}
	c := &Client{cluster: o.Cluster, log: orDiscard(o.Log).With("component", "events"), up: up, reconnected: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	opts := nats.GetDefaultOptions()
	if o.InProcess == nil { // a URL would have its say about TLS
		opts.Servers = o.URLs
	}
	access, err := o.access()
	if err != nil {
		return nil, err
	}
	for _, set := range append(c.connOptions(o), access...) {
		if err := set(&opts); err != nil {
			return nil, &topology.Fault{Code: "nats_options", Hint: "correct the nats section of the configuration", Err: err}
		}
	}
	nc, err := opts.Connect()
	if err != nil {
		return nil, &topology.Fault{
			Code: "nats_connect", Hint: "correct nats.url and its credentials",
			Err: fmt.Errorf("connect to NATS %v: %w", o.URLs, err),
		}
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("JetStream client: %w", err)
	}
	return c, nil
}

// access is how the client shows who it is. The agent's own connection to its server
// shows what only that server has told it.
func (o DialOptions) access() ([]nats.Option, error) {
	if own, ok := o.InProcess.(interface{ secret() string }); ok {
		return []nats.Option{nats.Token(own.secret())}, nil
	}
	return o.Access.options()
}

// connOptions are the options of a connection that outlives every server.
func (c *Client) connOptions(o DialOptions) []nats.Option {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.Timeout(2 * time.Second),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DontRandomize(),
		// Who is refused now may be let in once somebody has mended that.
		nats.IgnoreAuthErrorAbort(),
		// Nothing is buffered for a server that is away: the outbox has it,
		// and what comes out of a buffer later would come out of order.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(nc *nats.Conn) { c.connected(nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.connected(nc) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			c.mu.Lock()
			c.refusal = err
			c.mu.Unlock()
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if c.ctx.Err() == nil {
				c.log.Warn("connection to NATS lost", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			if s != nil {
				c.log.Warn("NATS reports an error", "subject", s.Subject, "error", err)
				return
			}
			c.log.Warn("NATS reports an error", "error", err)
		}),
	}
	if o.Fixed {
		opts = append(opts, nats.IgnoreDiscoveredServers())
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	return opts
}

func (c *Client) connected(nc *nats.Conn) {
	c.log.Info("connected to NATS", "url", nc.ConnectedUrlRedacted(), "server", nc.ConnectedServerName())
	c.mu.Lock()
	close(c.reconnected)
	c.reconnected = make(chan struct{})
	c.mu.Unlock()
	c.up()
}

// nextConnection returns what is closed when a connection is made from now on.
func (c *Client) nextConnection() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconnected
}

// Connected reports whether a server is connected now.
func (c *Client) Connected() bool { return c.nc.IsConnected() }

// AwaitConnection waits until a server is connected. When ctx ends before that the
// Fault says why the last try failed.
func (c *Client) AwaitConnection(ctx context.Context) error {
	next := c.nextConnection()
	if c.Connected() {
		return nil
	}
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		cause := c.trouble()
		if refused(cause) {
			return &topology.Fault{
				Code: "nats_refused", Hint: "correct how `nats` in the file logs in, whether it uses TLS, and who vouches for the servers",
				Err: fmt.Errorf("NATS does not let this client in: %w", cause),
			}
		}
		return &topology.Fault{
			Class: topology.Transient, Code: "nats_unreachable", Hint: "start the agents, or correct the addresses of NATS in the file",
			Err: fmt.Errorf("no NATS server answers: %w", cmp.Or(cause, context.Cause(ctx))),
		}
	}
}

// trouble is why no server is connected, if that is known.
func (c *Client) trouble() error {
	if c.Connected() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.refusal, c.nc.LastError())
}

// start runs the goroutines, unless the client is closed.
func (c *Client) start(run ...func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nats.ErrConnectionClosed
	}
	for _, f := range run {
		c.wg.Go(f)
	}
	return nil
}

// Close ends all subscriptions and the connection, and waits for them: for the
// handlers that run just then, therefore.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.nc.Close()
	c.wg.Wait()
}
