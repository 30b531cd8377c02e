package workload

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"healer/chaos/history"
)

// script drives a board by hand.
type script struct {
	*board
	dice *rand.Rand
	// sequence is each node's last transaction, at has what each node has of each.
	sequence map[string]int64
	at       map[string]map[string]int64
	fences   []string
	now      time.Duration
}

func newScript(nodes ...string) *script {
	s := &script{
		board: newBoard(nodes, 5), dice: rand.New(rand.NewPCG(1, 2)), sequence: map[string]int64{}, at: map[string]map[string]int64{},
	}
	for _, n := range nodes {
		s.at[n] = map[string]int64{}
	}
	return s
}

// sample lets the board see a node.
func (s *script) sample(nodes ...string) {
	for _, n := range nodes {
		s.now += time.Millisecond
		got := history.Sample{Node: n, At: s.now, Seen: map[string]int64{}, Fences: slices.Clone(s.fences)}
		for c, v := range s.at[n] {
			got.Seen[c] = v
		}
		s.observe(got)
	}
}

// write ends a transaction that has the claims; at the nodes it arrives.
func (s *script) write(node string, claims []claim, o history.Outcome, at ...string) int64 {
	s.sequence[node]++
	written := map[int64]bool{}
	for _, c := range claims {
		written[c.item.key] = true
	}
	s.give(&history.Transaction{Node: node, Sequence: s.sequence[node], Outcome: o}, claims, written)
	for _, n := range at {
		s.at[n][history.ClientID(node, 0)] = s.sequence[node]
	}
	return s.sequence[node]
}

// may lists the rows there are that the node may write.
func (s *script) may(node string) (keys []int64) {
	for _, it := range s.all {
		if s.mayWrite(node, it) {
			keys = append(keys, it.key)
		}
	}
	return keys
}

// TestHandsOnlyWhenAllHaveIt: a row is another node's once the last one has its write.
func TestHandsOnlyWhenAllHaveIt(t *testing.T) {
	s := newScript("n1", "n2", "n3")
	claims := s.take("n1", 1, s.dice)
	if len(claims) != 1 || claims[0].op != history.Insert || s.take("n1", 1, s.dice)[0].item == claims[0].item {
		t.Fatalf("claims %+v", claims)
	}
	key := claims[0].item.key
	s.write("n1", claims, history.Committed, "n1", "n2")
	s.sample("n1", "n2", "n3")
	for node, may := range map[string]bool{"n1": true, "n2": false, "n3": false} {
		if got := slices.Contains(s.may(node), key); got != may {
			t.Errorf("while n3 lacks it, %s may write the row: %t", node, got)
		}
	}
	s.at["n3"]["n1/0"] = 1
	s.sample("n3")
	if !slices.Contains(s.may("n2"), key) {
		t.Error("all have it, and n2 may not write the row")
	}
}

// TestCollidesBehindFences: over the write of a lost node another one writes when all
// others are fenced off from it, and one of them has the write.
func TestCollidesBehindFences(t *testing.T) {
	s := newScript("n1", "n2", "n3")
	claims := s.take("n1", 1, s.dice)
	key := claims[0].item.key
	s.write("n1", claims, history.Committed, "n1")
	s.sample("n1", "n2", "n3")
	collides := func() bool { return s.collide("n3", s.now, s.dice) != nil }
	if collides() {
		t.Error("nobody is fenced off")
	}
	s.fences = []string{"n1"}
	s.sample("n2")
	if collides() {
		t.Error("n3 is not fenced off")
	}
	s.sample("n3")
	if collides() {
		t.Error("nobody has the write: it may come when n1 is back")
	}
	s.at["n2"]["n1/0"] = 1
	s.sample("n2")
	if s.now += 2 * fresh; collides() {
		t.Error("the samples are old")
	}
	s.sample("n2", "n3")
	got := s.collide("n3", s.now, s.dice)
	if len(got) != 1 || got[0].item.key != key || got[0].over != "n1" || got[0].op == history.Insert {
		t.Fatalf("n3 writes %+v", got)
	}
	s.write("n3", got, history.Committed, "n3")
	if slices.Contains(s.may("n1"), key) || slices.Contains(s.may("n2"), key) {
		t.Error("the row is n3's now, and others may write it")
	}
}

// TestLeftAlone: behind its last write a row is nobody's any more, if that has happened.
func TestLeftAlone(t *testing.T) {
	for _, o := range []history.Outcome{history.Committed, history.Failed} {
		s := newScript("n1", "n2")
		claims := s.take("n1", 1, s.dice)
		s.write("n1", claims, history.Committed, "n1", "n2")
		claims[0].op, claims[0].last = history.Update, true
		s.write("n1", claims, o, "n1", "n2")
		s.sample("n1", "n2")
		if got := slices.Contains(s.may("n1"), claims[0].item.key); got == (o == history.Committed) {
			t.Errorf("the last write has %s, and the row may be written: %t", o, got)
		}
	}
}

// TestDoubt: a row whose write is in doubt is nobody's until that is settled, and is as
// before when the write has not happened.
func TestDoubt(t *testing.T) {
	for _, happened := range []bool{false, true} {
		s := newScript("n1", "n2")
		claims := s.take("n1", 1, s.dice)
		key := claims[0].item.key
		s.write("n1", claims, history.Committed, "n1", "n2")
		s.sample("n1", "n2")
		claims[0].op = history.Delete
		n := s.write("n1", claims, history.Unknown)
		if slices.Contains(s.may("n1"), key) || slices.Contains(s.may("n2"), key) {
			t.Error("somebody may write what is in doubt")
		}
		s.settle("n1/0", n, happened)
		if got := slices.Contains(s.may("n2"), key); got == happened {
			t.Errorf("happened %t, and n2 may write it: %t", happened, got)
		}
		if claims[0].item.live == happened {
			t.Errorf("happened %t, and the row is there: %t", happened, claims[0].item.live)
		}
	}
	s := newScript("n1", "n2")
	claims := s.take("n1", 1, s.dice)
	s.write("n1", claims, history.Unknown, "n2")
	s.sample("n2")
	if claims[0].item.doubtful {
		t.Error("a server has the transaction, and it is still in doubt")
	}
}

// TestNeverTwoWriters: whatever arrives when, no node is given a row that has a write
// which some node lacks, but the writer's own.
func TestNeverTwoWriters(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	rapid.Check(t, func(t *rapid.T) {
		s := newScript(nodes...)
		draw := func(what string) string { return rapid.SampledFrom(nodes).Draw(t, what) }
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				to, from := draw("to"), draw("from")
				if at := s.at[to]; at[from+"/0"] < s.sequence[from] && to != from {
					at[from+"/0"]++
				}
			case 1:
				s.sample(draw("sampled"))
			default:
				node := draw("writer")
				claims := s.take(node, 2, s.dice)
				for _, c := range claims {
					if w, _, _ := strings.Cut(c.item.client, "/"); w != "" && w != node {
						for _, n := range nodes {
							if n != w && s.at[n][c.item.client] < c.item.sequence {
								t.Fatalf("%s writes %d, whose write %d of %s is not on %s", node, c.item.key, c.item.sequence, w, n)
							}
						}
					}
				}
				s.write(node, claims, rapid.SampledFrom([]history.Outcome{history.Committed, history.Failed, history.Unknown}).Draw(t, "outcome"), node)
			}
		}
	})
}

// TestOptions: what cannot be is refused by its name.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "nodes is empty"},
		{Options{Nodes: []Node{{Name: "n1"}}}, `node "n1"`},
		{Options{Rates: Rates{Change: -1}}, "the rate change is -1: use 0 to 100"},
		{Options{Rates: Rates{Change: 60, Read: 50}}, "the rates add up to 110"},
		{Options{Clients: -1}, "clients is -1"},
		{Options{Pace: -1}, "pace is -1ns"},
	} {
		if c.want != "nodes is empty" && c.o.Nodes == nil {
			c.o.Nodes = []Node{{Name: "n1", On: nowhere{}}}
		}
		if err := c.o.complete(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// nowhere is a server that nobody reaches.
type nowhere struct{ Connector }

// A sample counts once all that was written when it was made is flushed; the first that
// waits is not overtaken by those behind it, or none would ever count.
func TestSamplesCountWhenFlushed(t *testing.T) {
	var p settling
	for i, c := range []struct {
		written, flushed int64
		counts           []string
	}{
		{10, 10, []string{"0"}},
		{20, 15, nil},
		{30, 19, nil},
		{40, 20, []string{"1"}},
		{50, 45, []string{"3"}},
		{60, 49, nil},
		{70, 70, []string{"4", "6"}},
		{80, 80, []string{"7"}},
	} {
		var got []string
		for _, s := range p.shows(history.Sample{Node: strconv.Itoa(i)}, c.written, c.flushed) {
			got = append(got, s.Node)
		}
		if !slices.Equal(got, c.counts) {
			t.Errorf("%d: %v count, want %v", i, got, c.counts)
		}
	}
}
