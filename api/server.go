package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"healer/topology"
)

// The limits of the server. A status page is small and made from memory: who
// needs longer than this to take it is not reading it.
const (
	headerTimeout  = 5 * time.Second
	writeTimeout   = 15 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// Options are what a Server is made of.
type Options struct {
	// Addr is the host:port to listen on.
	Addr string
	// Source is the agent that is shown.
	Source Source
	// Events feeds GET /v1/events; nil leaves that path out.
	Events EventSource
	// Recoveries feeds GET /v1/recoveries; nil leaves those paths out.
	Recoveries RecoverySource
	// Plans feeds GET /v1/plan; nil leaves that path out.
	Plans PlanSource
	// Steering takes what operators say; nil leaves those paths out. Token is
	// what they may show, nil when none is configured; TLS knows another way.
	Steering Steering
	Token    TokenSource
	// TLS serves over TLS; nil is plain HTTP.
	TLS *TLS
	// Collectors are metrics beside those made from the Source's status.
	Collectors []prometheus.Collector
	// KeepAlive is how long a stream of events may be silent; 0 is the default.
	KeepAlive time.Duration
	// Log takes what goes wrong.
	Log *slog.Logger
}

// TLS is how the server shows who it is, and knows who calls.
type TLS struct {
	// Config is the server's. It may ask clients for certificates; what becomes of
	// them is Vouched's to say.
	Config *tls.Config
	// Vouched reports whether the certificates that a client has shown, its own first,
	// let it change something; nil when none do. It is asked for every such request.
	Vouched func(shown []*x509.Certificate) bool
}

// Server is the agent's HTTP server. Make it with New, then Start, then Stop.
type Server struct {
	addr string
	http *http.Server
	tls  *tls.Config
	ln   net.Listener
	// end cancels the requests that would never end by themselves.
	end  context.CancelFunc
	done chan struct{}
	err  error
}

// New makes a server that does not listen yet. It fails when two of the
// collectors describe the same metric.
func New(o Options) (*Server, error) {
	d := newDoors(o.Source)
	h, err := handler(o, d)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{addr: o.Addr, end: end, done: make(chan struct{})}
	if o.TLS != nil {
		s.tls = o.TLS.Config
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true) // one protocol, whose limits are known, over TLS as well
	s.http = &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       d.connContext,
		ConnState:         d.connState,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Start listens, and serves until Stop. The error is a *topology.Fault: with
// the code address_in_use when somebody else has the port.
func (s *Server) Start(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.addr)
	if err != nil {
		return listenFault(s.addr, err)
	}
	s.ln = ln
	if s.tls != nil {
		ln = tls.NewListener(heeded{ln}, s.tls)
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	return nil
}

func listenFault(addr string, err error) error {
	f := &topology.Fault{
		Class: topology.Permanent, Code: "listen",
		Err:  fmt.Errorf("the API cannot listen on %s: %w", addr, err),
		Hint: "set this node's `api` in the cluster's file to an address of this machine",
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		f.Code = "address_in_use"
		f.Hint = "another process has the port, perhaps another agent: stop it, or change this node's `api` in the cluster's file"
	}
	return f
}

// Addr is the address the server listens on, once it has been started.
func (s *Server) Addr() string {
	if s.ln == nil {
		return s.addr
	}
	return s.ln.Addr().String()
}

// Done is closed when a started server no longer serves, for whatever reason;
// Stop then tells the reason.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends the streams, lets the other requests finish, and waits until
// nothing of the server runs any more. When ctx ends first it cuts them off.
// It returns why the server had stopped serving before, if it had.
func (s *Server) Stop(ctx context.Context) error {
	s.end()
	if s.ln == nil {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("the API was cut off: %w", err), s.http.Close())
	}
	<-s.done
	return errors.Join(err, s.err)
}
