package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/chaos/report"
	"healer/events"
)

// TestMarkdown makes the tables of results.
func TestMarkdown(t *testing.T) {
	datadriven.RunTest(t, "testdata/markdown.txt", func(t *testing.T, d *datadriven.TestData) string {
		all, err := report.Read(strings.NewReader(d.Input))
		if err != nil {
			return "error: " + err.Error()
		}
		svg := report.SVG(all)
		if !bytes.Equal(svg, report.SVG(all)) || !wellFormed(svg) {
			t.Errorf("%s: the plots are no picture, or another each time", d.Pos)
		}
		return report.Markdown(all)
	})
}

func wellFormed(b []byte) bool {
	dec := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := dec.Token(); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// TestRewrite replaces what stands between the marks, and nothing else.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	const head, tail = "# Title\n<!-- chaos: written by make chaos-docs -->", "<!-- chaos: end -->\nmore\n"
	if err := os.WriteFile(path, []byte(head+"old"+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more changes nothing more
		if err := report.Rewrite(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); !strings.HasPrefix(s, head) || !strings.HasSuffix(s, tail) || strings.Contains(s, "old") || strings.Count(s, "0 runs") != 1 {
		t.Errorf("%s", s)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report.Rewrite(path, nil); err == nil || !strings.Contains(err.Error(), "no place between") {
		t.Errorf("a document without the marks: %v", err)
	}
}

// TestMutants: the table says who found what, and what nobody did.
func TestMutants(t *testing.T) {
	got := report.Mutants([]report.Caught{
		{Mutant: "no_origin", What: "applies without origin", Plot: "gap", Runs: 3, Seed: 7, Checkers: []string{"twice", "equal"}},
		{Mutant: "untold", What: "says nothing", Runs: 50},
	})
	for _, want := range []string{
		"| `no_origin` | applies without origin | `gap` | 3 | 7 | `twice`, `equal` |\n", "| `untold` | says nothing | any | **not in 50** | | |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in:\n%s", want, got)
		}
	}
}

// TestPage: the page shows what happened, escapes it, and needs nothing from elsewhere.
func TestPage(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	event := func(k events.Kind, after time.Duration, data any) events.Event {
		e, err := events.New(events.Fact{Cluster: "app", Kind: k, Node: "n1", Recovery: "r1", Detail: []string{after.String()}}, "n2", start.Add(after), data)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	p := report.Page{
		Title: "Run 42", Facts: [][2]string{{"Seed", "42"}}, Skipped: []string{"disk_full: no small file system"},
		Violations: []check.Violation{{Checker: "missing", Detail: "<script>n1/0/7</script>"}},
		Run: check.Run{
			Start: start, Length: 20 * time.Second, Nodes: []string{"n1", "n2"},
			Faults: []history.FaultRecord{{Kind: "server_kill", Target: "n1", From: 2 * time.Second, Until: 9 * time.Second, Lost: []string{"n1"}, Note: "pid 17"}},
			Events: []events.Event{
				event(events.NodeFailed, 2100*time.Millisecond, events.Judged{Node: "n1"}),
				event(events.RecoveryStep, 2300*time.Millisecond, events.Step{Step: "s", Kind: "subscribe", Node: "n2", Target: "n3", State: "failed", DurationMS: 90}),
				event(events.RecoveryVerified, 2500*time.Millisecond, events.Verified{Node: "n1"}),
				event(events.JournalEntry, 2500*time.Millisecond, map[string]any{"event": "hidden entry"}),
			},
			Transactions: []history.Transaction{
				{ID: "n1/0/1", Node: "n1", Kind: "transfer", Outcome: history.Committed},
				{ID: "n1/0/2", Node: "n1", Kind: "transfer", Outcome: history.Unknown, Error: "connection reset", Began: 2 * time.Second, Ended: 3 * time.Second},
			},
			Samples: []history.Sample{
				{Node: "n1", At: time.Second, Seen: map[string]int64{"n1/0": 5}}, {Node: "n2", At: 2 * time.Second, Seen: map[string]int64{"n1/0": 2}},
			},
		},
	}
	var b, again bytes.Buffer
	if err := errors.Join(p.Write(&b), p.Write(&again)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"&lt;script&gt;n1/0/7", "server kill n1", "verdicts on n1", "recovery of n1", "steps for n1 on n3", "subscribe: failed", "clients of n1",
		"connection reset", "n1 &gt; n2, at most 3", "pid 17", ">500<", ">100<", "disk_full: no small file system",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, no := range []string{"<script", "http://", "https://", "hidden entry"} {
		if strings.Contains(page, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if page != again.String() {
		t.Error("the same run gives two pages")
	}
}
