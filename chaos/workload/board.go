package workload

import (
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"

	"healer/chaos/history"
)

// board knows of each row of the table item who wrote it last, and so who may be next.
// PostgreSQL's replication does not resolve two writes that do not know of each other,
// so a row changes hands in two cases only: when every node has its last write; or when
// its writer is lost, all others are fenced off from it, and one of them has the write.
// In the second case the write is in a gap that a recovery has to carry, and the row's
// new write, being later, has to win.
type board struct {
	nodes []string
	rows  int

	mu sync.Mutex
	// all are in the order in which they were made, so that dice repeat.
	all  []*item
	next map[string]int64
	last map[string]history.Sample
}

// item is a row, or a key that had one.
type item struct {
	key  int64
	live bool
	// The last write is that of the client at the node, with its sequence.
	node, client string
	sequence     int64
	// busy: a transaction has it.
	busy bool
	// left: nobody writes it any more.
	left bool
	// doubtful: that write may have happened, or not; the row is then as before.
	doubtful bool
	before   *item
}

// claim is what a transaction has taken of the board.
type claim struct {
	item *item
	// op is what it is to do to the row.
	op history.OperationKind
	// over is the lost node whose write it collides with.
	over string
	// last: the row is left alone behind it, so that what became of this write shows to
	// the end; others are soon written over.
	last bool
}

// fresh is how old a sample may be by which a node counts as fenced off.
const fresh = time.Second

func newBoard(nodes []string, rows int) *board {
	b := &board{nodes: nodes, rows: rows, next: map[string]int64{}, last: map[string]history.Sample{}}
	for i, n := range nodes {
		b.next[n] = int64(i+1) * 1_000_000_000
	}
	return b
}

// observe takes in what a server had.
func (b *board) observe(s history.Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[s.Node] = s
	for _, it := range b.all {
		// No later transaction of the client is there: this is the one in doubt.
		if it.doubtful && s.Seen[it.client] == it.sequence {
			it.doubtful, it.before = false, nil
		}
	}
}

// everywhere reports whether all nodes have the row's last write.
func (b *board) everywhere(it *item) bool {
	return !slices.ContainsFunc(b.nodes, func(n string) bool { return b.last[n].Seen[it.client] < it.sequence })
}

// anywhere reports whether a node but its writer has the row's last write.
func (b *board) anywhere(it *item) bool {
	return slices.ContainsFunc(b.nodes, func(n string) bool { return n != it.node && b.last[n].Seen[it.client] >= it.sequence })
}

// fenced is the one node that all others were fenced off from a moment ago; empty when
// there is none.
func (b *board) fenced(now time.Duration) string {
	for _, f := range b.nodes {
		if !slices.ContainsFunc(b.nodes, func(n string) bool {
			s, ok := b.last[n]
			return n != f && (!ok || now-s.At > fresh || !slices.Contains(s.Fences, f))
		}) {
			return f
		}
	}
	return ""
}

// mayWrite reports whether the row is the node's to write.
func (b *board) mayWrite(node string, it *item) bool {
	return !it.busy && !it.doubtful && !it.left && (it.node == node || b.everywhere(it))
}

// take finds up to n rows that a node may write now, or new ones.
func (b *board) take(node string, n int, dice *rand.Rand) []claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	var may []*item
	live := 0
	for _, it := range b.all {
		if it.live && !it.left {
			live++
		}
		if b.mayWrite(node, it) {
			may = append(may, it)
		}
	}
	dice.Shuffle(len(may), func(i, j int) { may[i], may[j] = may[j], may[i] })
	var out []claim
	for range n {
		fresh := dice.IntN(b.rows) >= live
		if !fresh && len(may) > 0 {
			it := may[0]
			may = may[1:]
			out = append(out, claim{item: it, op: choose(it, dice)})
		} else if fresh {
			it := &item{key: b.next[node], node: node}
			b.next[node]++
			b.all = append(b.all, it)
			out = append(out, claim{item: it, op: history.Insert})
		}
	}
	for _, c := range out {
		c.item.busy = true
	}
	// In one order, so that two clients do not wait for each other.
	sort.SliceStable(out, func(i, j int) bool { return out[i].item.key < out[j].item.key })
	return out
}

func choose(it *item, dice *rand.Rand) history.OperationKind {
	switch {
	case !it.live:
		return history.Insert
	case dice.IntN(5) == 0:
		return history.Delete
	default:
		return history.Update
	}
}

// collide finds a row over whose lost write the node may write. What the lost node has
// deleted is left alone: that node would skip the change when it is back.
func (b *board) collide(node string, now time.Duration, dice *rand.Rand) []claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := b.fenced(now)
	if lost == "" || lost == node {
		return nil
	}
	var may []*item
	for _, it := range b.all {
		if it.node == lost && it.live && !it.busy && !it.doubtful && !it.left && b.anywhere(it) && !b.everywhere(it) {
			may = append(may, it)
		}
	}
	if len(may) == 0 {
		return nil
	}
	it := may[dice.IntN(len(may))]
	it.busy = true
	return []claim{{item: it, op: choose(it, dice), over: lost}}
}

// give takes the rows back after the transaction's end. written are those that it
// changed.
func (b *board) give(t *history.Transaction, claims []claim, written map[int64]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range claims {
		c.item.busy = false
		if t.Outcome == history.Failed || !written[c.item.key] {
			continue
		}
		if t.Outcome == history.Unknown {
			was := *c.item
			c.item.doubtful, c.item.before = true, &was
		}
		c.item.node, c.item.client, c.item.sequence = t.Node, history.ClientID(t.Node, t.Client), t.Sequence
		c.item.live, c.item.left = c.op != history.Delete, c.last
	}
}

// settle says whether a transaction that was in doubt has happened.
func (b *board) settle(client string, sequence int64, happened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.all {
		if !it.doubtful || it.client != client || it.sequence != sequence {
			continue
		}
		if happened {
			it.doubtful, it.before = false, nil
		} else {
			*it = *it.before
		}
	}
}
