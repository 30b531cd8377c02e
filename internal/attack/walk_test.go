package attack

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"healer/internal/localpg"
)

// envFull makes the tests exhaustive where they else take a sample; envSeed
// repeats a random test, envRounds makes it longer, envNodes gives the clusters that
// may have it so many nodes.
const (
	envFull   = "HEALER_ATTACK_FULL"
	envSeed   = "HEALER_ATTACK_SEED"
	envRounds = "HEALER_ATTACK_ROUNDS"
	envNodes  = "HEALER_ATTACK_NODES"
)

// small is the schema of the walk's gaps.
const small = `create table t (id int primary key, v int, pad text);
	create table u (a int, b text, n int, big text, primary key (a, b))`

// seed has the rows that every gap writes.
const seed = `insert into t values (1, 0, ''), (2, 0, '')`

// mixed is a gap with a change of every kind, with savepoints that are rolled
// back and released, under keys of its own.
func mixed(n int) []string { return around(n, 1) }

// around is such a gap that also changes the same row as all others around it.
func around(n, row int) []string {
	k := n * 100
	return []string{
		fmt.Sprintf(`insert into t values (%[1]d, 1, 'a'), (%[1]d + 1, 1, 'b'); update t set v = v + 1 where id = %[2]d`, k, row),
		fmt.Sprintf(`insert into u values (%[1]d, 'x', 1, (select string_agg(md5(i::text), '') from generate_series(1, 400) i))`, k),
		fmt.Sprintf(`begin; savepoint a; update t set v = 99 where id = %[1]d; rollback to a;
			savepoint b; update t set v = 2 where id = %[1]d; savepoint c; delete from t where id = %[1]d + 1; release c; release b; commit`, k),
		fmt.Sprintf(`update u set n = 2 where a = %[1]d; update t set id = %[1]d + 2 where id = %[1]d; update t set v = v + 1 where id = %[2]d`, k, row),
	}
}

// random is the source of a test's dice; its seed is printed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv(envSeed); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
	}
	t.Logf("%s=%d", envSeed, n)
	return rand.New(rand.NewPCG(n, 0)) //nolint:gosec // dice
}

// rounds is how often a random test throws them.
func rounds(t *testing.T, ordinary int) int { return number(t, envRounds, ordinary) }

// some are as many of all the moments as there are rounds, in no order; or all of
// them, when HEALER_ATTACK_FULL is set.
func some(t *testing.T, dice *rand.Rand, all []string, ordinary int) []string {
	t.Helper()
	if os.Getenv(envFull) != "" {
		return all
	}
	dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(rounds(t, ordinary), len(all))]
}

// walk strikes at one moment after another, until a test fails.
func (c *cluster) walk(prefix string, moments []string, strike func(*cluster, string)) {
	for _, moment := range moments {
		if c.Failed() {
			return
		}
		c.sub(prefix+moment, func(l *lab) {
			c := *c
			c.lab = l
			strike(&c, moment)
		})
	}
}

// nodes is how many a cluster has.
func nodes(t *testing.T, ordinary int) int { return number(t, envNodes, ordinary) }

func number(t *testing.T, env string, ordinary int) int {
	t.Helper()
	s := os.Getenv(env)
	if s == "" {
		return ordinary
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// TestWalk ends something at every message of a small gap, and carries on. What
// costs much, or differs little from its neighbours, is done at some of them,
// others in every run; HEALER_ATTACK_FULL=1 does it at all.
func TestWalk(t *testing.T) {
	l := newLab(t, localpg.Options{Schema: []string{small}}, seed)
	dice := random(t)
	g := l.next(mixed)
	w := l.strike(g, Plan{}, Plan{})
	l.done(g, "undisturbed")
	sent, answered := w.session.Messages(Sent), w.session.Messages(Received)
	streamed := w.stream.Messages(Received)
	t.Logf("%d messages to the laggard, %d from it, %d from the source", sent, answered, streamed)
	for _, c := range []struct {
		name     string
		messages int
		// every is how many messages lie between two strikes of an ordinary run.
		every   int
		session bool
		side    Side
		strike  Strike
	}{
		{"apply session hung up", sent, 1, true, Sent, Hangup},
		{"apply session terminated", sent, 9, true, Sent, l.terminate(laggard)},
		{"laggard crashed", sent, 19, true, Sent, l.crash(laggard)},
		{"session hung up, then the laggard crashed behind a checkpoint", sent, 23, true, Sent, l.crashSaved},
		{"source crashed while it is applied", sent, 37, true, Sent, l.crash(source)},
		{"answers of the laggard lost", answered, 37, true, Received, Hangup},
		{"stream hung up", streamed, 3, false, Received, Hangup},
		{"stream terminated", streamed, 13, false, Received, l.terminate(source)},
		{"source crashed", streamed, 19, false, Received, l.crash(source)},
		{"laggard crashed while it is read", streamed, 19, false, Received, l.crash(laggard)},
	} {
		every := c.every
		if os.Getenv(envFull) != "" {
			every = 1
		}
		l.sub(c.name, func(l *lab) {
			struck, tried := 0, 0
			for at := 1 + dice.IntN(every); at <= c.messages; at += every {
				g := l.next(mixed)
				plan := Plan{Side: c.side, At: at, Strike: c.strike}
				var w wires
				if c.session {
					w = l.strike(g, plan, Plan{})
				} else {
					w = l.strike(g, Plan{}, plan)
				}
				tried++
				if w.session.Struck() || w.stream.Struck() {
					struck++
				}
				l.resume(g)
				l.done(g, fmt.Sprintf("%s at message %d", c.name, at))
			}
			if struck < tried*8/10 {
				l.Errorf("only %d of %d moments came", struck, tried)
			}
		})
	}
}
