package watch

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"healer/api"
	"healer/control"
	"healer/events"
	"healer/topology"
)

var rewrite = flag.Bool("update", false, "write the golden files anew")

// noon is when all of these tests happen.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// mesh is a mesh in which nothing is wrong.
func mesh(names ...string) *api.Status {
	s := &api.Status{Cluster: "app", Agent: names[0], Mode: "auto", State: api.Healthy, At: noon(), NATS: api.NATS{Connected: true, StreamReady: true}}
	for i, name := range names {
		n := api.Node{Name: name, Life: api.LifeUp, Since: noon().Add(-time.Duration(i+1) * 40 * time.Minute), AgentAlive: true, Reachable: true, Ready: true}
		for j, peer := range names {
			if i == j {
				continue
			}
			n.Subscriptions = append(n.Subscriptions, api.Subscription{Name: "s", Provider: peer, Enabled: true, Worker: topology.WorkerIdle})
			s.Progress = append(s.Progress, api.Progress{Origin: peer, Node: name, LSN: topology.LSN(0x1000000 * (j + 1))}) //nolint:gosec // small
			s.Slots = append(s.Slots, api.Slot{Node: name, For: peer, Kind: topology.SlotRecovery, RetainedBytes: int64(4096 * (i + 1)), WALStatus: "reserved"})
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// healing is the mesh in the middle of the recovery of n3.
func healing() *api.Status {
	s := mesh("n1", "n2", "n3")
	s.State, s.Reasons = api.Degraded, []string{"n3 failed: connection refused", "a recovery of n3 runs"}
	s.Nodes[2].Life, s.Nodes[2].Reachable, s.Nodes[2].AgentAlive, s.Nodes[2].Ready, s.Nodes[2].Since = api.LifeFailed, false, false, false, noon().Add(-2*time.Second)
	for i := range 2 {
		s.Nodes[i].Subscriptions[1] = api.Subscription{Name: "s", Provider: "n3", Fenced: true, Worker: topology.WorkerNone}
	}
	for i, p := range s.Progress {
		if p.Node == "n2" && p.Origin == "n3" {
			s.Progress[i].LSN, s.Progress[i].Missing = 0x2d00000, 3<<20
		}
	}
	s.Slots[0].RetainedBytes, s.Slots[0].AtRisk = 3<<30, true
	s.Slots[3].WALStatus, s.Slots[3].RetainedBytes = "lost", 1<<30
	s.Current = &api.Recovery{ID: "r", Kind: "recovery", Node: "n3", State: api.RecoveryRunning, Step: "subscribe n1->n2", Duration: api.Duration(1500 * time.Millisecond)}
	return s
}

func event(t *testing.T, ago time.Duration, kind events.Kind, recovery string, data any) happened {
	t.Helper()
	e, err := events.New(events.Fact{Cluster: "app", Kind: kind, Node: "n3", Recovery: recovery}, "n1", noon().Add(-ago), data)
	if err != nil {
		t.Fatal(err)
	}
	return happened{e}
}

// told are the events of that recovery up to its middle.
func told(t *testing.T) []tea.Msg {
	t.Helper()
	return []tea.Msg{
		event(t, 4*time.Second, events.NodeSuspected, "", nil),
		event(t, 3*time.Second, events.NodeFailed, "", events.Judged{Reason: "connection refused"}),
		event(t, 2*time.Second, events.RecoveryPlanned, "r", events.Planned{
			Plan: "recovery", Node: "n3", Survivors: []string{"n1", "n2"}, Final: true, Watermark: 0x3000000, Source: "n1",
			Lanes: []events.PlannedLane{{Target: "n2", Source: "n1", From: 0x2d00000, To: 0x3000000}},
			Steps: []events.PlannedStep{
				{ID: "f1", Kind: "fence", Node: "n1"},
				{ID: "f2", Kind: "fence", Node: "n2"},
				{ID: "s", Kind: "subscribe", Node: "n1", Target: "n2"},
				{ID: "v", Kind: "verify"},
			},
		}),
		event(t, time.Second, events.RecoveryStep, "r", events.Step{Step: "f1", Kind: "fence", Node: "n1", State: "done", DurationMS: 40, Figures: map[string]int64{"drain_ms": 5}}),
		event(t, time.Second, events.RecoveryStep, "r", events.Step{Step: "f2", Kind: "fence", Node: "n2", State: "failed", DurationMS: 80, Error: "worker\nruns\x1b[2J"}),
		event(t, time.Second, events.JournalEntry, "r", nil),
	}
}

func newModel(width, height int, msgs ...tea.Msg) *model {
	m := &model{cluster: "app", start: noon().Add(-3 * time.Second), now: noon(), width: width, height: height, poll: func() tea.Cmd { return nil }}
	return m.told(msgs...)
}

func (m *model) told(msgs ...tea.Msg) *model {
	for _, msg := range msgs {
		m.Update(msg)
	}
	return m
}

func (m *model) keys(keys ...string) *model {
	for _, k := range keys {
		msg := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		switch k {
		case "tab":
			msg = tea.KeyPressMsg{Code: tea.KeyTab}
		case "up":
			msg = tea.KeyPressMsg{Code: tea.KeyUp}
		case "down":
			msg = tea.KeyPressMsg{Code: tea.KeyDown}
		case "left":
			msg = tea.KeyPressMsg{Code: tea.KeyLeft}
		}
		m.Update(msg)
	}
	return m
}

// bare is a frame without colours and without spaces at the ends of lines.
func bare(frame string) string {
	lines := strings.Split(ansi.Strip(frame), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// frames are the states that are worth a look, each at a size.
func frames(t *testing.T) map[string]*model {
	t.Helper()
	now := func(s *api.Status, silent ...string) reading { return reading{at: noon(), status: s, silent: silent} }
	refused := healing()
	refused.Current, refused.State = nil, api.Critical
	refused.Reasons = []string{"n3 failed", "slot lost", "the planner refuses", "and more"}
	refused.Refusals = []api.Refusal{{Subject: "n3", Reason: "slot_lost", Why: "no survivor kept the WAL that n2 lacks", Remedy: "healer recovery run --failed n3 --rows carries its rows in place of its transactions, or healer node rebuild n2"}}
	refused.Last = &api.Recovery{ID: "old", Kind: "recovery", Node: "n2", State: api.RecoveryFailed, Error: "2 rows differ\x1b[31m", Hint: "compare them", Duration: api.Duration(time.Second)}
	refused.Paused = true
	refused.Control = []control.Entry{{Kind: control.Maintenance, Subject: "n2", Until: noon().Add(90 * time.Second), By: "me"}}
	refused.Witnesses = []api.Witness{{Name: "w1", AgentAlive: true}}
	seven := mesh("berlin", "frankfurt", "amsterdam", "paris", "n5", "n6", "a-name-of-thirty-two-characters-")
	done := append(told(t),
		event(t, 0, events.RecoveryVerified, "r", events.Verified{TransactionsRecovered: 1200, RowsCompared: 8000, RowsRepaired: 7, DurationMS: 900}))
	old := now(mesh("n1", "n2", "n3"), "n2")
	old.status.At = noon().Add(-42 * time.Second)
	all := append([]tea.Msg{now(healing(), "n3")}, told(t)...)
	return map[string]*model{
		"starting_80x24":     newModel(80, 24),
		"nobody_80x24":       newModel(80, 24, reading{at: noon(), silent: []string{"n1", "n2"}}),
		"healthy_80x24":      newModel(80, 24, now(mesh("n1", "n2", "n3"))),
		"healthy_110x30":     newModel(110, 30, now(mesh("n1", "n2", "n3")), busState{"no NATS server answers"}),
		"healing_110x34":     newModel(110, 34, all...),
		"healing_60x20":      newModel(60, 20, all...),
		"healing_60x20_tab1": newModel(60, 20, all...).keys("tab"),
		"healing_60x20_tab2": newModel(60, 20, all...).keys("tab", "tab"),
		"healing_60x12_tab3": newModel(60, 12, all...).keys("tab", "tab", "tab", "down"),
		"healing_60x12_tab4": newModel(60, 12, all...).keys("left", "up"),
		"healing_60x48":      newModel(60, 48, all...),
		"healed_110x34":      newModel(110, 34, append([]tea.Msg{now(mesh("n1", "n2", "n3"))}, done...)...),
		"refused_110x34":     newModel(110, 34, now(refused)),
		"refused_60x24":      newModel(60, 24, now(refused)).keys("tab", "tab"),
		"seven_100x24":       newModel(100, 24, now(seven)),
		"seven_60x20":        newModel(60, 20, now(seven)).keys("tab"),
		"stale_80x24":        newModel(80, 24, old),
		"paused_80x24":       newModel(80, 24, now(mesh("n1", "n2", "n3"))).keys("p").told(all...),
		"help_80x24":         newModel(80, 24, now(mesh("n1", "n2", "n3"))).keys("?"),
		"help_60x12":         newModel(60, 12, now(mesh("n1", "n2", "n3"))).keys("?"),
	}
}

func TestFrames(t *testing.T) {
	for name, m := range frames(t) {
		path := filepath.Join("testdata", name+".txt")
		got := bare(m.frame())
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (write it anew with -args -update):\n%s", name, diff)
		}
	}
}

// TestFrameFits draws in all sizes: a frame is never larger than the terminal, or the
// terminal would scroll it away; and nothing in it drives the terminal.
func TestFrameFits(t *testing.T) {
	for name, m := range frames(t) {
		for _, size := range [][2]int{{40, 10}, {59, 13}, {80, 24}, {99, 40}, {100, 24}, {200, 60}} {
			m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			for focus := range panelCount {
				if m.focus = focus; focus > 0 && size[0] >= wide {
					break // all of them are there
				}
				frame := m.frame()
				if w, h := lipgloss.Size(frame); w > size[0] || h != size[1] && !m.help {
					t.Fatalf("%s: a frame for %v is %d×%d:\n%s", name, size, w, h, bare(frame))
				}
				if strings.ContainsRune(strings.ReplaceAll(ansi.Strip(frame), "\n", ""), '\x1b') || strings.Contains(frame, "\x1b[2J") {
					t.Fatalf("%s: what an agent said drives the terminal: %q", name, frame)
				}
			}
		}
	}
}

// TestGapIsRed: what is lacking of a lost node stands out, and of a living one less.
func TestGapIsRed(t *testing.T) {
	s := healing()
	m := newModel(110, 34, reading{at: noon(), status: s})
	gap := m.cell(s.Nodes[1], s.Nodes[2], 24)
	s.Nodes[2].Life = api.LifeUp
	lag := m.cell(s.Nodes[1], s.Nodes[2], 24)
	if !strings.Contains(ansi.Strip(gap), "▣ −3.0M 0/2D00000") || gap == lag || ansi.Strip(gap) != ansi.Strip(lag) {
		t.Errorf("gap %q, lag %q", gap, lag)
	}
}

// TestUnknownIsNotGreen: a position that is not known is no good news.
func TestUnknownIsNotGreen(t *testing.T) {
	s := mesh("n1", "n2", "n3")
	m := newModel(110, 34, reading{at: noon(), status: s})
	good := m.cell(s.Nodes[1], s.Nodes[2], 24)
	for i := range s.Progress {
		s.Progress[i].LSN = 0
	}
	unknown := m.cell(s.Nodes[1], s.Nodes[2], 24)
	if bare := strings.TrimSpace(ansi.Strip(unknown)); bare != "unknown" {
		t.Errorf("it is shown as %q", bare)
	}
	if colour := strings.Split(unknown, "unknown")[0]; strings.HasPrefix(good, colour) {
		t.Errorf("%q has the colour of %q", unknown, good)
	}
}

// TestPause holds what comes back, and shows it afterwards.
func TestPause(t *testing.T) {
	m := newModel(110, 34, reading{at: noon(), status: mesh("n1", "n2", "n3")}).keys("p")
	before := m.frame()
	m.told(reading{at: noon(), status: healing()}).told(told(t)...).told(reading{at: noon(), status: healing(), silent: []string{"n3"}})
	if got := m.frame(); strings.Contains(got, "failed") || !strings.Contains(before, "healthy") {
		t.Errorf("while paused:\n%s", bare(got))
	}
	if got := bare(m.keys("p").frame()); !strings.Contains(got, "degraded") || !strings.Contains(got, "silent: n3") || !strings.Contains(got, "node.failed") {
		t.Errorf("afterwards:\n%s", got)
	}
}

// TestSilence keeps the last picture, with its age, when no agent answers any more.
func TestSilence(t *testing.T) {
	m := newModel(110, 34, reading{at: noon(), status: mesh("n1", "n2", "n3")})
	m.told(clock(noon().Add(time.Minute)), reading{at: noon().Add(time.Minute), silent: []string{"n1", "n2", "n3"}})
	if got := bare(m.frame()); !strings.Contains(got, "1m00s old") || !strings.Contains(got, "silent: n1 n2 n3") {
		t.Error(got)
	}
}

func TestQuit(t *testing.T) {
	for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}} {
		m := newModel(80, 24)
		_, cmd := m.Update(key)
		if cmd == nil {
			t.Fatalf("%s does nothing", key)
		}
		if _, ends := cmd().(tea.QuitMsg); !ends {
			t.Errorf("%s does not end it", key)
		}
	}
}

// TestStrangeData shows events whose data is not what it should be, and keeps no more
// of them than it should.
func TestStrangeData(t *testing.T) {
	m := newModel(80, 24, reading{at: noon(), status: healing()})
	for i := range 2 * keptEvents / len(events.Kinds()) {
		for _, kind := range events.Kinds() {
			h := event(t, 0, kind, fmt.Sprint(i), nil)
			h.event.Data = json.RawMessage([]string{``, `null`, `[]`, `"x"`, `{"steps":3}`}[i%5])
			m.told(h)
		}
	}
	if m.frame(); len(m.events) != keptEvents {
		t.Errorf("%d events are kept", len(m.events))
	}
}
