package detector

import (
	"context"
	"slices"
	"sync"
)

// maxBacklog is how many verdicts wait for a slow reader before overtaken ones
// are left out.
const maxBacklog = 256

// watchers hands verdicts to readers of any speed.
type watchers struct {
	mu     sync.Mutex
	list   []*watcher
	closed bool
	done   sync.WaitGroup
}

// watcher is the queue of one reader.
type watcher struct {
	mu    sync.Mutex
	queue []Verdict
	more  chan struct{}
	stop  chan struct{}
}

// add registers a reader until ctx ends, beginning with the given verdicts.
func (ws *watchers) add(ctx context.Context, first []Verdict) <-chan Verdict {
	out := make(chan Verdict)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		close(out)
		return out
	}
	w := &watcher{queue: first, more: make(chan struct{}, 1), stop: make(chan struct{})}
	ws.list = append(ws.list, w)
	ws.done.Go(func() {
		defer close(out)
		w.pump(ctx, out)
		ws.remove(w)
	})
	return out
}

// give queues the verdicts for every reader. It never waits.
func (ws *watchers) give(vs []Verdict) {
	if len(vs) == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		w.put(vs)
	}
}

// close ends all readers' channels and waits for their pumps.
func (ws *watchers) close() {
	ws.mu.Lock()
	ws.closed = true
	for _, w := range ws.list {
		close(w.stop)
	}
	ws.list = nil
	ws.mu.Unlock()
	ws.done.Wait()
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = slices.DeleteFunc(ws.list, func(x *watcher) bool { return x == w })
}

func (w *watcher) put(vs []Verdict) {
	w.mu.Lock()
	w.queue = append(w.queue, vs...)
	if len(w.queue) > maxBacklog {
		w.queue = latest(w.queue)
	}
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// latest keeps the last verdict of each node, in order.
func latest(vs []Verdict) []Verdict {
	last := map[string]int{}
	for i, v := range vs {
		last[v.Node] = i
	}
	var out []Verdict
	for i, v := range vs {
		if last[v.Node] == i {
			out = append(out, v)
		}
	}
	return out
}

func (w *watcher) next() (Verdict, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return Verdict{}, false
	}
	v := w.queue[0]
	w.queue = w.queue[1:]
	return v, true
}

// pump moves verdicts from the queue to the reader.
func (w *watcher) pump(ctx context.Context, out chan<- Verdict) {
	for {
		v, ok := w.next()
		if !ok {
			select {
			case <-w.more:
				continue
			case <-w.stop:
				return
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- v:
		case <-w.stop:
			return
		case <-ctx.Done():
			return
		}
	}
}
