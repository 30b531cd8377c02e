package detector

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"healer/topology"
)

// script is a Judge with scripted observers around it. Each line of a step is
//
//	<observers> see <subjects> <condition> [start=N]   what they find from now on
//	<observers> mute | speak                           nothing of theirs arrives
//	<observers> report <subjects> failed|admitted N    what they concluded
//	<observers> leave | back                           planned leave of their own node
//	agents <names>                                     the living agents, by gossip
//	gone <names>                                       agents that are shown to be gone
//	admit <subject>
//	maintain <subject> <duration> | end                an operator's word, from now on
//	run <duration>                                     in steps of 100 ms
//	pause <duration>                                   this agent stands still; what the
//	                                                   others say meanwhile waits
//
// Observers and subjects are lists with commas. A step prints each verdict that
// changed, with the time since the beginning.
type script struct {
	t     *testing.T
	judge *Judge
	now   time.Time
	start time.Time
	seq   uint64
	views map[string]map[string]*view // by observer, subject
	mute  map[string]bool
	out   strings.Builder
	// suspended is what operators have said, stale what came during a pause.
	suspended map[string]Suspension
	stale     []Evidence
}

// view is what an observer finds at a subject.
type view struct {
	condition Condition
	identity  topology.Identity
	since     time.Time
	gone      time.Time
	episode   uint64
	failed    *topology.Identity
}

// life is the identity of the nth life of a node.
func life(n int64) topology.Identity {
	return topology.Identity{SystemID: 7, Timeline: 1, StartedAt: n}
}

func newScript(t *testing.T, d *datadriven.TestData) *script {
	rules := Rules{}
	self, members := "n1", "n1,n2,n3"
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "members":
			members = strings.Join(arg.Vals, ",")
		case "self":
			self = arg.Vals[0]
		case "witnesses":
			rules.Witnesses = arg.Vals
		case "quorum":
			rules.Quorum = Quorum(arg.Vals[0])
		default:
			d.Fatalf(t, "unknown option %q", arg.Key)
		}
	}
	now := time.Unix(0, 0)
	s := &script{
		t: t, now: now, start: now, views: map[string]map[string]*view{}, mute: map[string]bool{},
		suspended: map[string]Suspension{},
	}
	s.judge = NewJudge(self, strings.Split(members, ","), rules, nil, now)
	return s
}

func (s *script) line(d *datadriven.TestData, line string) {
	f := strings.Fields(line)
	switch {
	case f[0] == "run":
		s.run(d, f[1])
	case f[0] == "maintain":
		delete(s.suspended, f[1])
		if f[2] != "end" {
			s.suspended[f[1]] = Suspension{Until: s.now.Add(s.duration(d, f[2])), Text: "by ops"}
		}
		s.judge.Suspend(s.suspended)
	case f[0] == "pause":
		s.pause(s.duration(d, f[1]))
	case f[0] == "admit":
		fmt.Fprintf(&s.out, "admit %s: %v\n", f[1], s.judge.Admit(f[1]))
	case f[0] == "gone":
		for _, m := range strings.Split(f[1], ",") {
			s.judge.AgentGone(m, s.now)
		}
	case f[0] == "agents":
		s.judge.Agents(strings.Split(f[1], ","))
	default:
		for _, o := range strings.Split(f[0], ",") {
			s.act(d, o, f[1], f[2:])
		}
	}
}

func (s *script) act(d *datadriven.TestData, o, verb string, args []string) {
	switch verb {
	case "see":
		for _, subject := range strings.Split(args[0], ",") {
			s.see(o, subject, args[1:])
		}
	case "mute", "speak":
		s.mute[o] = verb == "mute"
	case "report":
		v := s.views[o][args[0]]
		if _, err := fmt.Sscan(args[2], &v.episode); err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		v.failed = nil
		if args[1] == "failed" {
			id := v.identity
			v.failed = &id
		}
	case "leave":
		s.seq++
		s.judge.Merge(Evidence{Observer: o, Subject: o, Seq: s.seq, Condition: Leaving}, s.now)
		delete(s.views[o], o)
	default:
		d.Fatalf(s.t, "unknown verb %q", verb)
	}
}

func (s *script) see(o, subject string, args []string) {
	if s.views[o] == nil {
		s.views[o] = map[string]*view{}
	}
	old := s.views[o][subject]
	v := &view{condition: Condition(args[0])}
	if old != nil {
		v.identity, v.since, v.episode, v.failed = old.identity, old.since, old.episode, old.failed
	}
	if len(args) > 1 {
		var n int64
		if _, err := fmt.Sscanf(args[1], "start=%d", &n); err != nil {
			s.t.Fatal(err)
		}
		v.identity = life(n)
	}
	k := newTable().kind(Evidence{Condition: v.condition})
	if k == Refuting || k == Neutral {
		v.since = time.Time{}
	} else if v.since.IsZero() {
		v.since = s.now
	}
	if k == Positive {
		v.gone = s.now
		if old != nil && !old.gone.IsZero() {
			v.gone = old.gone
		}
	}
	s.views[o][subject] = v
}

func (s *script) run(d *datadriven.TestData, arg string) {
	for end := s.now.Add(s.duration(d, arg)); s.now.Before(end); s.now = s.now.Add(100 * time.Millisecond) {
		s.deliver()
		for _, v := range s.judge.Evaluate(s.now) {
			abstained := ""
			if v.Abstained {
				abstained = " (abstained)"
			}
			findings := ""
			if len(v.Findings) > 0 {
				findings = fmt.Sprint(" ", v.Findings)
			}
			if v.Unwatched {
				findings += " unwatched"
			}
			if v.Held {
				findings += " held down"
			}
			fmt.Fprintf(&s.out, "%5dms %s %s%s %s %s%s: %s\n", s.now.Sub(s.start).Milliseconds(),
				v.Node, v.Life, abstained, v.Condition, v.Incarnation, findings, v.Reason)
		}
	}
}

func (s *script) duration(d *datadriven.TestData, arg string) time.Duration {
	dur, err := time.ParseDuration(arg)
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	return dur
}

// pause lets the time pass without this agent. What the others find now is in
// its sockets when it wakes up, and is the first that it reads.
func (s *script) pause(dur time.Duration) {
	s.stale = s.others()
	s.now = s.now.Add(dur)
}

// deliver gives the Judge what every observer finds now.
func (s *script) deliver() {
	for _, e := range append(s.stale, s.others()...) {
		s.judge.Merge(e, s.now)
	}
	s.stale = nil
	own := s.views[s.judge.self]
	if s.mute[s.judge.self] {
		return
	}
	for _, subject := range slices.Sorted(maps.Keys(own)) {
		v := own[subject]
		s.judge.Report(subject, Finding{Condition: v.condition, Identity: v.identity}, s.now)
	}
}

// others is what every other observer finds now.
func (s *script) others() []Evidence {
	var out []Evidence
	for _, o := range slices.Sorted(maps.Keys(s.views)) {
		for _, subject := range slices.Sorted(maps.Keys(s.views[o])) {
			v := s.views[o][subject]
			if s.mute[o] || o == s.judge.self {
				continue
			}
			e := Evidence{
				Observer: o, Subject: subject, Condition: v.condition, Identity: v.identity,
				Episode: v.episode, Failed: v.failed,
			}
			if !v.since.IsZero() {
				e.Lasted = s.now.Sub(v.since)
			}
			if !v.gone.IsZero() {
				e.Held = s.now.Sub(v.gone)
			}
			s.seq++
			e.Seq = s.seq
			out = append(out, e)
		}
	}
	return out
}

func TestJudgeGolden(t *testing.T) {
	datadriven.Walk(t, "testdata/judge", func(t *testing.T, path string) {
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "init" {
				s = newScript(t, d)
			}
			s.out.Reset()
			for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
				if line != "" {
					s.line(d, line)
				}
			}
			return s.out.String()
		})
	})
}
