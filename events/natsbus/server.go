package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"healer/topology"
)

const (
	// defaultMaxStore is four times what Healer's own stream may grow to.
	defaultMaxStore = 4 * streamMaxBytes
	// maxMemory bounds what is kept in memory; Healer keeps nothing there but
	// the state of those who read the stream.
	maxMemory = 64 << 20
	// maxClients bounds the connections: far more than agents and operators need.
	maxClients = 512
)

// ServerOptions describes the NATS server that an agent embeds.
type ServerOptions struct {
	// Node is the name of the node; it becomes the server's name.
	Node string
	// Cluster is the name of Healer's cluster.
	Cluster string
	// Client is the host:port for clients. Port 0 takes a free one.
	Client string
	// Route is the host:port at which the other nodes' servers reach this
	// one. It is not used when Routes is empty.
	Route string
	// Routes are the other nodes' Route addresses. None makes a server that
	// stands alone.
	Routes []string
	// StoreDir is the directory of JetStream's files; it is made if missing.
	StoreDir string
	// Doors says who is let in.
	Doors Doors
	// MaxStore bounds what JetStream may keep in StoreDir, in bytes; zero
	// means 1 GiB. Left to itself the server would claim three quarters of
	// the disk that PostgreSQL lives on.
	MaxStore int64
	// Log gets the server's log lines. Nil discards them.
	Log *slog.Logger
}

// Server is a running embedded NATS server with JetStream.
type Server struct {
	ns     *server.Server
	porter *porter
	// started is closed when the server's Start has returned.
	started chan struct{}
}

// StartServer starts the server and waits until it accepts connections; it does
// not wait for its peers. What is wrong with an address or the directory is a
// permanent Fault with its remedy; that ctx ends first is a transient one.
func StartServer(ctx context.Context, o ServerOptions) (*Server, error) {
	p := newPorter(o.Doors, o.Cluster)
	opts, err := o.serverOptions(p)
	if err != nil {
		return nil, err
	}
	if err := o.checkListen(ctx, opts); err != nil {
		return nil, err
	}
	if err := o.checkStore(); err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, o.fault("nats_options", "correct the nats section of the configuration", err)
	}
	log := newServerLog(o.Log, p.heed)
	ns.SetLoggerV2(log, false, false, false)
	s := &Server{ns: ns, porter: p, started: make(chan struct{})}
	go func() {
		defer close(s.started)
		ns.Start()
	}()
	for {
		select {
		case msg := <-log.fatal:
			s.stop()
			return nil, o.fault("nats_start", "mend what the server says, then start the agent again",
				fmt.Errorf("NATS server does not start: %s", msg))
		case <-ctx.Done():
			s.stop()
			return nil, o.late(ctx)
		default:
		}
		if ns.ReadyForConnections(20 * time.Millisecond) {
			return s, nil
		}
	}
}

// URL is what a client connects to.
func (s *Server) URL() string { return s.ns.ClientURL() }

// InProcessConn is a connection to the server without a socket; it makes the
// Server fit for DialOptions.InProcess.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// secret is what the agent's own connection shows.
func (s *Server) secret() string { return s.porter.own }

// Refused is what the server has turned away since its start, by reason: login,
// permission, tls or too_large.
func (s *Server) Refused() map[string]uint64 { return s.porter.counts() }

// Shutdown stops the server: it writes out its state and closes all
// connections. When ctx ends first it returns ctx's cause and the server goes
// on stopping.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.stop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("NATS server has not stopped: %w", context.Cause(ctx))
	}
}

// stop stops the server and waits for it. A server that is still starting gets
// to the end of that first, which takes as long as reading its store: NATS'
// Start and Shutdown do not bear each other.
func (s *Server) stop() {
	<-s.started
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// serverOptions translates o.
func (o ServerOptions) serverOptions(p *porter) (*server.Options, error) {
	if o.Node == "" || o.Cluster == "" || o.StoreDir == "" {
		return nil, o.fault("nats_options", "set the node's name, the cluster's name and the data directory",
			errors.New("embedded NATS server without a name, a cluster or a directory"))
	}
	host, port, err := splitAddress(o.Client)
	if err != nil {
		return nil, o.fault("nats_address", "correct nats.client of the node", err)
	}
	opts := &server.Options{
		ServerName: o.Node, Host: host, Port: port,
		MaxConn: maxClients, JetStream: true, StoreDir: o.StoreDir, SyncAlways: true,
		JetStreamMaxStore: cmp.Or(o.MaxStore, defaultMaxStore), JetStreamMaxMemory: maxMemory,
		// The agent owns the signals and the log.
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
	}
	token, err := p.guard(opts)
	if err != nil {
		return nil, o.fault("nats_access", "put the same tokens on all hosts into the files of `nats.token_file` and `nats.reader_token_file`, "+
			"readable for the agent's user alone, such as by `openssl rand -hex 32`", fmt.Errorf("the tokens of NATS: %w", err))
	}
	if len(o.Routes) == 0 {
		return opts, nil
	}
	if host, port, err = splitAddress(o.Route); err != nil {
		return nil, o.fault("nats_address", "correct nats.cluster of the node", err)
	}
	opts.Cluster.Name, opts.Cluster.Host, opts.Cluster.Port = o.Cluster, host, port
	var login *url.Userinfo
	if token != "" {
		login = url.UserPassword("healer", token)
	}
	for _, r := range o.Routes {
		if _, _, err := splitAddress(r); err != nil {
			return nil, o.fault("nats_address", "correct nats.cluster of the other nodes", err)
		}
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: r, User: login})
	}
	return opts, nil
}

// splitAddress reads host:port; port 0 becomes the server's word for any port.
func splitAddress(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("NATS address %q: %w", addr, err)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("NATS address %q: port is not a number below 65536", addr)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}

// checkListen finds out beforehand whether the addresses can be had, because
// the server itself only logs that they cannot and then never becomes ready.
func (o ServerOptions) checkListen(ctx context.Context, opts *server.Options) error {
	addrs := map[string]int{o.Client: opts.Port}
	if opts.Cluster.Port != 0 {
		addrs[o.Route] = opts.Cluster.Port
	}
	for addr, port := range addrs {
		if port == server.RANDOM_PORT {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if ctx.Err() != nil && err != nil {
			return o.late(ctx)
		}
		if err != nil {
			return o.fault("nats_address",
				"free "+addr+" (is another agent running?) or give the node another address",
				fmt.Errorf("NATS cannot listen on %s: %w", addr, err))
		}
		if err := l.Close(); err != nil {
			return o.fault("nats_address", "try again", err)
		}
	}
	return nil
}

// checkStore makes the directory and writes a file in it.
func (o ServerOptions) checkStore() error {
	err := os.MkdirAll(o.StoreDir, 0o750)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(o.StoreDir, ".probe-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return o.fault("nats_store", "make "+o.StoreDir+" a directory that the agent's user may write",
			fmt.Errorf("NATS cannot use its directory: %w", err))
	}
	return nil
}

// late says that ctx ended before the server was ready.
func (o ServerOptions) late(ctx context.Context) error {
	return &topology.Fault{
		Class: topology.Transient, Code: "nats_start", Node: o.Node, Hint: "start it again with more time",
		Err: fmt.Errorf("NATS server is not ready yet: %w", context.Cause(ctx)),
	}
}

// fault wraps err for the operator: it stays until somebody mends it.
func (o ServerOptions) fault(code, hint string, err error) error {
	return &topology.Fault{Class: topology.Permanent, Code: code, Node: o.Node, Hint: hint, Err: err}
}
