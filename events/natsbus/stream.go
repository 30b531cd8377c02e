package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
)

// What the stream keeps, when Healer makes it. Of a stream that exists only
// the replicas are ever changed: the limits are then the operator's.
const (
	streamMaxAge   = 30 * 24 * time.Hour
	streamMaxBytes = 256 << 20

	// apiTimeout bounds a request that changes something in JetStream,
	// lookTimeout one that only looks. Without a leader JetStream does not
	// answer at all, so to look again soon is to find its leader soon.
	apiTimeout  = 3 * time.Second
	lookTimeout = time.Second
	// codeNoPeers is JSClusterNoPeersErrF: too few servers for the replicas.
	codeNoPeers jetstream.ErrorCode = 10005
	// codeNoReplicas is JSStreamReplicasNotSupportedErr: a server alone.
	codeNoReplicas jetstream.ErrorCode = 10074
)

// stream makes the stream and keeps it in being.
type stream struct {
	js   jetstream.JetStream
	name string
	want jetstream.StreamConfig
	log  *slog.Logger
	// look asks keep to look at the stream now; again is what keep tells
	// when the stream takes events that did not.
	look  chan struct{}
	again chan<- struct{}

	mu       sync.Mutex
	ready    bool
	replicas int
	problem  string
	// since is when the problem began, warned whether it was logged. What
	// passes within stuckAfter is the ordinary course of an election.
	since  time.Time
	warned bool
}

func newStream(c *Client, replicas int, look chan struct{}, again chan<- struct{}) *stream {
	name := events.Stream(c.cluster)
	return &stream{
		js: c.js, name: name, log: c.log, look: look, again: again,
		problem: "stream " + name + " was not found yet",
		want: jetstream.StreamConfig{
			Name: name, Description: "Healer's events of the cluster " + c.cluster,
			Subjects: []string{events.SubjectPrefix(c.cluster) + ">"},
			Storage:  jetstream.FileStorage, Replicas: replicas,
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxAge: streamMaxAge, MaxBytes: streamMaxBytes,
			Duplicates: DuplicateWindow, AllowDirect: true,
		},
	}
}

// state returns what keep last found.
func (s *stream) state() (ready bool, replicas int, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready, s.replicas, s.problem
}

// check asks keep to look at the stream now.
func (s *stream) check() { poke(s.look) }

// keep looks at the stream until ctx ends: often while something is wrong or
// it has too few replicas, now and then otherwise.
func (s *stream) keep(ctx context.Context) {
	wait := &backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 1.5, MaxInterval: 3 * time.Second}
	for {
		replicas, err := s.ensure(ctx)
		if ctx.Err() != nil {
			return
		}
		s.note(replicas, err)
		next := time.Minute
		switch {
		case err != nil:
			next = wait.NextBackOff()
		case replicas < s.want.Replicas:
			next = 5 * time.Second
		}
		if err == nil {
			wait.Reset()
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.look:
		}
		timer.Stop()
	}
}

// note remembers and logs what was found, each change once.
func (s *stream) note(replicas int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, wasReplicas := s.ready, s.replicas
	if replicas > 0 {
		s.replicas = replicas
	}
	if err == nil {
		s.ready, s.problem, s.since, s.warned = true, "", time.Time{}, false
		if !was || wasReplicas != replicas {
			s.log.Info("stream is ready", "stream", s.name, "replicas", replicas, "wanted", s.want.Replicas)
			poke(s.again)
		}
		return
	}
	s.ready, s.problem = false, err.Error()
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if !s.warned && time.Since(s.since) > stuckAfter {
		s.warned = true
		s.log.Warn("stream is not ready; events are kept and sent again", "stream", s.name, "error", err)
	}
}

// ensure makes the stream if it is missing and raises its replicas if it has
// too few. It returns how many it has, and an error when it takes no events.
func (s *stream) ensure(ctx context.Context) (int, error) {
	st, err := s.find(ctx)
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s.create(ctx)
	}
	if err != nil {
		return 0, explain(err)
	}
	info := st.CachedInfo()
	have := info.Config
	if !slices.Contains(have.Subjects, s.want.Subjects[0]) {
		return 0, fmt.Errorf("stream %s is not of this cluster: it has the subjects %v; rename the cluster, or remove the stream", s.name, have.Subjects)
	}
	if info.Cluster != nil && info.Cluster.Leader == "" {
		return have.Replicas, fmt.Errorf("stream %s has no leader now", s.name)
	}
	if have.Replicas >= s.want.Replicas {
		return have.Replicas, nil
	}
	raised := have
	raised.Replicas = s.want.Replicas
	if _, err := s.js.UpdateStream(ctx, raised); err != nil {
		s.log.Debug("stream cannot have more replicas yet", "stream", s.name, "replicas", have.Replicas, "wanted", raised.Replicas, "error", err)
		return have.Replicas, nil
	}
	return raised.Replicas, nil
}

// find asks for the stream as it is.
func (s *stream) find(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return s.js.Stream(ctx, s.name)
}

// create makes the stream with as many replicas as there are servers for: a
// cluster that is being set up need not wait for its last node.
func (s *stream) create(ctx context.Context) (int, error) {
	cfg := s.want
	for {
		st, err := s.js.CreateStream(ctx, cfg)
		if err == nil {
			return st.CachedInfo().Config.Replicas, nil
		}
		var api *jetstream.APIError
		few := errors.As(err, &api) && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNoReplicas)
		if !few || cfg.Replicas == 1 {
			return 0, explain(err)
		}
		cfg.Replicas--
	}
}

// explain says what a failed request to JetStream means to an operator.
func explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		return errors.New("not connected to NATS")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("JetStream does not answer: it has no leader, which needs a majority of the NATS servers: %w", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the NATS server has no JetStream; enable it, or use the embedded server: %w", err)
	}
	return fmt.Errorf("JetStream: %w", err)
}
