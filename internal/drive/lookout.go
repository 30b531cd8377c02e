package drive

import (
	"context"
	"sync"
	"time"

	"healer/config"
	"healer/detector"
	"healer/postgres/probe"
)

const (
	// look is the pause between two questions to a server, and answer how long each
	// may take: a busy server is not a lost one.
	look, answer = time.Second, 5 * time.Second
	// patience is how long a server may be silent before it counts as lost. That
	// costs no more than a plan that goes on without it.
	patience = 10 * time.Second
)

// lookout knows which servers do not answer while a recovery is under way. An
// agent has its detector for that; a person has this.
type lookout struct {
	mu    sync.Mutex
	heard map[string]time.Time
	loops sync.WaitGroup
	stop  context.CancelFunc
}

// watch begins to ask the servers. Those in lost are lost until they answer.
func watch(ctx context.Context, c *config.Config, lost map[string]bool) (*lookout, error) {
	ctx, stop := context.WithCancel(ctx)
	l := &lookout{heard: map[string]time.Time{}, stop: stop}
	for _, n := range c.Nodes {
		p, err := probe.New(n.DSN)
		if err != nil {
			l.close()
			return nil, err
		}
		if !lost[n.Name] {
			l.hear(n.Name)
		}
		l.loops.Go(func() { l.ask(ctx, n.Name, p) })
	}
	return l, nil
}

// ask asks one server again and again, in one session as long as it lasts.
func (l *lookout) ask(ctx context.Context, node string, p detector.Prober) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var session detector.Session
	defer func() {
		if session != nil {
			session.Close()
		}
	}()
	for {
		limited, cancel := context.WithTimeout(ctx, answer)
		var err error
		if session == nil {
			session, err = p.Connect(limited, answer, func() {})
		} else if err = session.Ping(limited); err != nil {
			session.Close()
			session = nil
		}
		cancel()
		if err == nil {
			l.hear(node)
		} else {
			session = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *lookout) hear(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[node] = time.Now()
}

// lost are those of the nodes that do not answer, in their order.
func (l *lookout) lost(nodes []string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, n := range nodes {
		if time.Since(l.heard[n]) > patience {
			out = append(out, n)
		}
	}
	return out
}

func (l *lookout) close() {
	l.stop()
	l.loops.Wait()
}
