package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

func at(seconds float64) Stamp { return Stamp(seconds * float64(time.Second)) }

func event(t *testing.T, s float64, kind events.Kind, recovery string, data any) Happened {
	t.Helper()
	e, err := events.New(events.Fact{Cluster: "demo", Kind: kind, Node: "n1", Recovery: recovery}, "n2", time.Unix(0, 0), data)
	if err != nil {
		t.Fatal(err)
	}
	return Happened{At: at(s), Event: e}
}

// recorded is a run in the middle of its healing, and its end.
func recorded(t *testing.T) (middle, end []Update) {
	t.Helper()
	lsn := func(n int) topology.LSN { return topology.LSN(0x1000000 + n) } //nolint:gosec // small
	plan := events.Planned{
		Plan: "recovery", Node: "n1", Survivors: []string{"n2", "n3"}, Final: true, Watermark: lsn(900000), Source: "n2",
		Lanes: []events.PlannedLane{{Target: "n3", Source: "n2", From: lsn(0), To: lsn(900000)}},
		Steps: []events.PlannedStep{
			{ID: "f2", Kind: "fence", Node: "n2"},
			{ID: "f3", Kind: "fence", Node: "n3"},
			{ID: "s", Kind: "subscribe", Node: "n2", Target: "n3"},
			{ID: "v", Kind: "verify", Node: "n2"},
		},
	}
	middle = []Update{
		Step{At: at(0), Name: "servers", What: "start 3 servers"},
		Step{At: at(1.5), Name: "servers", What: "PostgreSQL 18.4 on 3 nodes", Ended: true, Took: 1500 * time.Millisecond},
		Life{At: at(1), Node: "n1", Server: true, Agent: true, Verdict: "alive"},
		Life{At: at(1), Node: "n2", Server: true, Agent: true, Verdict: "alive"},
		Life{At: at(1), Node: "n3", Server: true, Agent: true, Verdict: "alive"},
		Step{At: at(2), Name: "gap", What: "cut the link n1 → n3"},
		Cut{At: at(2), From: "n1", To: "n3"},
		Note{At: at(2.5), Text: "5000 of 10000 rows written"},
		Rates{At: at(3), Nodes: []Rate{{"n1", 100, 50, 0}, {"n2", 80, 40, 0}, {"n3", 40, 20, 0}}},
		Progress{
			At: at(4), Heads: map[string]topology.LSN{"n1": lsn(950000), "n2": lsn(500), "n3": lsn(400)},
			Applied: map[string]map[string]topology.LSN{
				"n1": {"n2": lsn(100), "n3": lsn(400)},
				"n2": {"n1": lsn(900000), "n3": lsn(400)},
				"n3": {"n1": lsn(0), "n2": lsn(500)},
			},
			Fenced: map[string][]string{"n2": {"n1"}},
		},
		Step{At: at(4), Name: "gap", What: "10003 rows are missing on n3", Ended: true, Took: 2 * time.Second},
		Killed{At: at(5), Node: "n1"},
		Life{At: at(5), Node: "n1", Verdict: "alive"},
		event(t, 5.5, events.NodeSuspected, "", nil),
		event(t, 6, events.NodeFailed, "", nil),
		Life{At: at(6), Node: "n1", Verdict: "failed"},
		Step{At: at(6), Name: "heal", What: "wait for recovery.verified"},
		event(t, 6.1, events.RecoveryPlanned, "r", plan),
		event(t, 6.2, events.RecoveryStarted, "r", events.Started{Plan: "recovery", Node: "n1"}),
		event(t, 6.3, events.RecoveryStep, "r", events.Step{Step: "f2", Kind: "fence", Node: "n2", State: "done", DurationMS: 40, Figures: map[string]int64{"drain_ms": 5}}),
		event(t, 6.4, events.RecoveryStep, "r", events.Step{Step: "f3", Kind: "fence", Node: "n3", State: "failed", DurationMS: 80, Error: "worker_running"}),
	}
	end = []Update{
		event(t, 7, events.RecoveryVerified, "r", events.Verified{TransactionsRecovered: 1200, RowsCompared: 8000, RowsRepaired: 7, DurationMS: 900}),
		Cut{At: at(7.5), From: "n1", To: "n3", Whole: true},
		Life{At: at(8), Node: "n1", Server: true, Agent: true, Verdict: "rejoined"},
		Step{At: at(8), Name: "compare", What: "compare", Ended: true, Err: errors.New("4 rows differ"), Took: time.Second},
		Result{At: at(9), Good: false, Lines: []string{"NOT CONVERGED: 4 of 100 rows differ"}},
	}
	return middle, end
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write it anew with -update):\n%s", name, diff)
	}
}

// bare is a frame without colours and without spaces at the ends of lines.
func bare(frame string) string {
	lines := strings.Split(ansi.Strip(frame), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestFrames(t *testing.T) {
	middle, end := recorded(t)
	b := newBoard("a test", []string{"n1", "n2", "n3"})
	golden(t, "empty.txt", bare(b.frame(80, 24, 0)))
	for _, u := range middle {
		b.apply(u)
	}
	golden(t, "middle.txt", bare(b.frame(110, 34, 6500*time.Millisecond)))
	for _, u := range end {
		b.apply(u)
	}
	golden(t, "end.txt", bare(b.frame(110, 34, 9*time.Second)))
}

// TestFrameFits draws in all sizes: a frame is never larger than the terminal,
// or the terminal would scroll it away.
func TestFrameFits(t *testing.T) {
	middle, end := recorded(t)
	b := newBoard("heals the loss of n1 · PostgreSQL 18.4 · 7 nodes, and a title too long for any terminal", []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7"})
	for i, u := range append(middle, end...) {
		b.apply(u)
		for _, size := range [][2]int{{80, 24}, {81, 25}, {120, 40}, {200, 60}, {317, 99}} {
			frame := b.frame(size[0], size[1], time.Duration(i)*time.Second)
			if w, h := lipgloss.Size(frame); w > size[0] || h > size[1] {
				t.Fatalf("after update %d a frame for %v is %d×%d", i, size, w, h)
			}
		}
	}
}

func TestGapIsRed(t *testing.T) {
	middle, _ := recorded(t)
	b := newBoard("a test", []string{"n1", "n2", "n3"})
	for _, u := range middle {
		b.apply(u)
	}
	if c := b.cell("n3", "n1"); c.missing != 900000 || !c.cut || c.fenced {
		t.Errorf("n3 lacks of n1: %+v", c)
	}
	if c := b.cell("n2", "n1"); c.missing != 0 || !c.fenced {
		t.Errorf("n2 lacks of n1: %+v", c)
	}
	if c := b.cell("n1", "n2"); c.missing != 0 || !c.gone {
		t.Errorf("a node that is down has no gap: %+v", c)
	}
	red := b.matrixCell(b.cell("n3", "n1"), 24)
	if red == ansi.Strip(red) || !strings.Contains(ansi.Strip(red), "−878k") {
		t.Errorf("the gap is drawn as %q", red)
	}
}

func TestPlain(t *testing.T) {
	middle, end := recorded(t)
	var out bytes.Buffer
	p := NewPlain(&out)
	for _, u := range append(middle, end...) {
		p.Show(u)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.Show(Note{Text: "too late"})
	golden(t, "plain.txt", out.String())
}

// TestStrangeData shows events whose data is not what it should be.
func TestStrangeData(t *testing.T) {
	for _, raw := range []string{``, `null`, `[]`, `"x"`, `{"steps":3}`} {
		for _, kind := range events.Kinds() {
			h := event(t, 1, kind, "r", nil)
			h.Event.Data = json.RawMessage(raw)
			b := newBoard("a test", []string{"n1"})
			b.apply(h)
			b.frame(80, 24, 0)
			NewPlain(&bytes.Buffer{}).Show(h)
		}
	}
}

// TestLive runs the program without a terminal: Close must leave the last frame.
func TestLive(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(LiveOptions{In: strings.NewReader(""), Out: &out, Title: "a test", Nodes: []string{"n1"}, Start: time.Now()})
	l.Show(Result{Good: true, Lines: []string{"all is well"}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Show(Note{Text: "too late"})
	text := ansi.Strip(out.String())
	for _, want := range []string{"a test", "CONVERGED", "all is well"} {
		if !strings.Contains(text, want) {
			t.Errorf("the last frame lacks %q:\n%s", want, text)
		}
	}
}
