package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

const (
	// firstAnswer is how long an observation waits for a provider that is
	// asked for the first time and that nothing else tells.
	firstAnswer = 500 * time.Millisecond
	// askLimit bounds one asking, which goes on in the background.
	askLimit = 5 * time.Second
	// askAgain and askSeldom bound the pause before a provider that did not
	// answer, or was nobody known, is asked again.
	askAgain, askSeldom = time.Second, time.Minute
)

// providers knows which node each subscription reads from. In order of weight:
// the server at the other end was asked in this life, or in an earlier one;
// the connection string leads where a node's DSN leads; the subscription was
// fenced as one that reads from the node. There is no other evidence, and
// without any the provider is unknown.
type providers struct {
	servers map[string]*postgres.Server
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // the life of the askers, ended by close
	cancel  context.CancelFunc
	askers  sync.WaitGroup

	// parsed has where each connection string met so far leads.
	parsed sync.Map

	mu         sync.Mutex
	asked      map[string]string
	remembered map[string]string
	fenced     map[string]string
	known      map[string]who
	pending    map[string]*asking
}

// asking is the state of a question: under way while done is open.
type asking struct {
	done  chan struct{}
	next  time.Time
	pause time.Duration
}

func newProviders(servers map[string]*postgres.Server, remembered map[string]string, log *slog.Logger) *providers {
	ctx, cancel := context.WithCancel(context.Background())
	p := &providers{
		servers: servers, log: log, ctx: ctx, cancel: cancel,
		asked: make(map[string]string), remembered: maps.Clone(remembered),
		fenced: make(map[string]string), known: make(map[string]who),
		pending: make(map[string]*asking),
	}
	if p.remembered == nil {
		p.remembered = make(map[string]string)
	}
	return p
}

func (p *providers) close() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.askers.Wait()
}

// key names a subscription and where its connection string leads, so that a
// subscription altered to read from elsewhere is a new question. It holds no
// password: it is written to disk.
func (p *providers) key(node string, s Subscription) string {
	return fmt.Sprintf("%s/%d/%s@%s", node, s.ID, s.Name, p.leads(s.ConnInfo))
}

// leads is a hash of where a connection string leads. Strings are parsed once:
// every observation asks for them, several times a second.
func (p *providers) leads(conninfo string) string {
	if known, ok := p.parsed.Load(conninfo); ok {
		return known.(string) //nolint:errcheck,forcetypeassert // only strings are stored
	}
	leads := "?"
	if ep, err := postgres.ParseEndpoint(conninfo); conninfo != "" && err == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(ep.String()))
		leads = fmt.Sprintf("%x", h.Sum64())
	}
	p.parsed.Store(conninfo, leads)
	return leads
}

func fenceKey(node string, oid uint32) string { return fmt.Sprintf("%s/%d", node, oid) }

// of returns the provider of a node's Subscription, or "" when it is unknown.
func (p *providers) of(node string, s Subscription) string {
	k := p.key(node, s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if name, ok := p.asked[k]; ok {
		return name
	}
	if name, ok := p.remembered[k]; ok {
		return name
	}
	if name := p.configured(node, s); name != "" {
		return name
	}
	return p.fenced[fenceKey(node, s.ID)]
}

// configured is the node whose DSN leads where the subscription's connection
// string leads. Never the node itself: "localhost" there is not here.
func (p *providers) configured(node string, s Subscription) string {
	if s.ConnInfo == "" {
		return ""
	}
	ep, err := postgres.ParseEndpoint(s.ConnInfo)
	if err != nil {
		return ""
	}
	for name, server := range p.servers {
		if name != node && server.Endpoint() == ep {
			return name
		}
	}
	return ""
}

// export returns the answers of servers: the configuration and the marks tell
// the rest again.
func (p *providers) export() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := maps.Clone(p.remembered)
	maps.Copy(out, p.asked)
	return out
}

// met tells who a configured node is.
func (p *providers) met(node string, w who) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[node] = w
}

// learn takes note of a node's subscriptions and asks, in the background, for
// the providers that no server has told in this life. It waits a moment for
// those that are unknown otherwise and asked for the first time.
func (p *providers) learn(ctx context.Context, node string, subs []Subscription, fences []topology.Fence) {
	p.note(node, subs, fences)
	ctx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	for _, s := range subs {
		done, first := p.ask(node, s)
		if !first || p.of(node, s) != "" {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// note learns from fence marks and forgets subscriptions that are gone.
func (p *providers) note(node string, subs []Subscription, fences []topology.Fence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.fenced, func(k, _ string) bool { return strings.HasPrefix(k, node+"/") })
	for _, f := range fences {
		if m, ok := mark.ParseFence(p.servers[node].Database(), f.Mark); ok {
			p.fenced[fenceKey(node, m.Subscription)] = f.Origin
		}
	}
	here := make(map[string]bool)
	for _, s := range subs {
		if s.ConnInfo == "" {
			return // where it leads cannot be told now, nor what has changed
		}
		here[p.key(node, s)] = true
	}
	gone := func(k, _ string) bool { return strings.HasPrefix(k, node+"/") && !here[k] }
	maps.DeleteFunc(p.asked, gone)
	maps.DeleteFunc(p.remembered, gone)
}

// ask starts to ask for the subscription's provider unless that is known, being
// asked, or was asked a moment ago. first is true when it never was before.
func (p *providers) ask(node string, s Subscription) (done <-chan struct{}, first bool) {
	if s.ConnInfo == "" {
		return nil, false
	}
	k := p.key(node, s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.asked[k]; ok || p.ctx.Err() != nil {
		return nil, false
	}
	a, again := p.pending[k]
	if again && (a.next.IsZero() || time.Now().Before(a.next)) {
		return nil, false
	}
	if !again {
		a = &asking{pause: askAgain}
		p.pending[k] = a
	}
	a.done, a.next = make(chan struct{}), time.Time{}
	p.askers.Go(func() { p.answer(node, s, k, a) })
	return a.done, !again
}

// answer asks the other end who it is and finds it among the nodes.
func (p *providers) answer(node string, s Subscription, k string, a *asking) {
	ctx, cancel := context.WithTimeout(p.ctx, askLimit)
	defer cancel()
	name, err := p.identify(ctx, node, s)
	told := p.of(node, s)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(a.done)
	if name == "" {
		a.next = time.Now().Add(a.pause)
		a.pause = min(2*a.pause, askSeldom)
		p.log.Debug("provider of subscription not told", "node", node, "subscription", s.Name, "error", err)
		return
	}
	delete(p.pending, k)
	p.asked[k] = name
	if told != "" && told != name {
		p.log.Warn("subscription reads from another node than thought", "node", node,
			"subscription", s.Name, "thought", told, "told", name)
	}
}

func (p *providers) identify(ctx context.Context, node string, s Subscription) (string, error) {
	var far who
	if err := postgres.Ask(ctx, s.ConnInfo, &far, whoSQL); err != nil {
		return "", err
	}
	if name := p.match(node, far); name != "" {
		return name, nil
	}
	p.refresh(ctx)
	if name := p.match(node, far); name != "" {
		return name, nil
	}
	return "", errors.New("the server at the other end is none of the configured nodes")
}

// match finds the only other node that is far.
func (p *providers) match(node string, far who) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := ""
	for name, w := range p.known {
		if name == node || w != far {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

// refresh asks all configured nodes who they are.
func (p *providers) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askLimit/2)
	defer cancel()
	var wg sync.WaitGroup
	for name, server := range p.servers {
		wg.Go(func() {
			var w who
			if err := server.JSON(ctx, &w, whoSQL); err == nil {
				p.met(name, w)
			}
		})
	}
	wg.Wait()
}
