package events_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/events"
)

func TestGoldenIDs(t *testing.T) {
	datadriven.RunTest(t, "testdata/ids", func(t *testing.T, d *datadriven.TestData) string {
		lines := strings.Split(d.Input, "\n")
		if d.Input == "" {
			lines = nil
		}
		switch d.Cmd {
		case "hash":
			return events.Hash(lines...) + "\n"
		case "id":
			return readFact(t, lines).ID() + "\n"
		case "event":
			f := readFact(t, lines)
			e, err := events.New(f, "n1", time.UnixMilli(1_700_000_000_123), map[string]any{"why": "<none & nobody>"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.MarshalIndent(e, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s\nsubject %s\nstream %s\n", b, events.Subject(f.Cluster, f.Kind), events.Stream(f.Cluster))
		}
		t.Fatalf("unknown command %s", d.Cmd)
		return ""
	})
}

func readFact(t *testing.T, lines []string) events.Fact {
	t.Helper()
	var f events.Fact
	for _, l := range lines {
		key, value, _ := strings.Cut(l, "=")
		switch key {
		case "cluster":
			f.Cluster = value
		case "kind":
			f.Kind = events.Kind(value)
		case "node":
			f.Node = value
		case "incarnation":
			f.Incarnation = value
		case "recovery":
			f.Recovery = value
		case "detail":
			f.Detail = append(f.Detail, value)
		default:
			t.Fatalf("unknown key %s", key)
		}
	}
	return f
}

// Different facts have different ids, however their words are cut.
func TestIDsTellFactsApart(t *testing.T) {
	word := rapid.StringMatching(`[ab1:]{0,3}`)
	words := rapid.SliceOfN(word, 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		a, b := words.Draw(t, "a"), words.Draw(t, "b")
		same := fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b)
		if (events.Hash(a...) == events.Hash(b...)) != same {
			t.Fatalf("%q and %q: %s and %s", a, b, events.Hash(a...), events.Hash(b...))
		}
	})
}

// The id says what happened: not who saw it, nor when, nor with what evidence.
func TestAgentsAgreeOnTheID(t *testing.T) {
	f := events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n2", Incarnation: "1a2b.1"}
	a, err := events.New(f, "n1", time.Unix(1, 0), map[string]int{"observers": 2})
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.New(f, "n3", time.Unix(2, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != b.ID || a.Source == b.Source {
		t.Errorf("ids %s and %s, sources %s and %s", a.ID, b.ID, a.Source, b.Source)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := events.Fact{
			Cluster: "app", Kind: rapid.SampledFrom(events.Kinds()).Draw(t, "kind"),
			Node: rapid.String().Draw(t, "node"), Recovery: rapid.String().Draw(t, "recovery"),
		}
		at := time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "at"))
		e, err := events.New(f, "n1", at, rapid.MapOf(rapid.String(), rapid.Int()).Draw(t, "data"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		want := e
		// JSON has no bytes that are no text.
		want.Subject, want.PartitionKey = strings.ToValidUTF8(e.Subject, "\ufffd"), strings.ToValidUTF8(e.PartitionKey, "\ufffd")
		want.Recovery = strings.ToValidUTF8(e.Recovery, "\ufffd")
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		if got.Kind() != f.Kind {
			t.Fatalf("kind %s became %s", f.Kind, got.Kind())
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good := events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n2"}
	for name, c := range map[string]struct {
		fact events.Fact
		data any
	}{
		"an unknown kind":            {fact: events.Fact{Cluster: "app", Kind: "node.dissolved"}},
		"data that is no JSON":       {fact: good, data: make(chan int)},
		"data that is too large":     {fact: good, data: strings.Repeat("x", events.MaxBytes)},
		"an event without a cluster": {fact: events.Fact{Kind: events.NodeFailed}},
	} {
		if e, err := events.New(c.fact, "n1", time.Unix(1, 0), c.data); err == nil {
			t.Errorf("%s was taken: %+v", name, e)
		}
	}
}

func TestKinds(t *testing.T) {
	grades := map[events.Severity]int{}
	for _, k := range events.Kinds() {
		sev, ok := k.Severity()
		if !ok {
			t.Errorf("%s has no severity", k)
		}
		grades[sev]++
		if strings.Count(string(k), ".") != 1 {
			t.Errorf("%s is not two tokens of a subject", k)
		}
	}
	if len(grades) != 3 || grades[events.Info]+grades[events.Warning]+grades[events.Critical] != len(events.Kinds()) {
		t.Errorf("severities: %v", grades)
	}
	if _, ok := events.Kind("").Severity(); ok {
		t.Error("the empty kind has a severity")
	}
}

func FuzzDecode(f *testing.F) {
	e, err := events.New(events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n2"}, "n1", time.Unix(1, 0), map[string]int{"a": 1})
	if err != nil {
		f.Fatal(err)
	}
	b, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"specversion":"1.0","id":"x","cluster":"c","type":"healer.v1.node.failed","time":"2026-01-01T00:00:00Z","data":[1,{}]}`))
	f.Add([]byte(`{"specversion":"1.0","id":"","cluster":"c","type":"node.failed"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := events.Decode(b)
		if err != nil {
			return
		}
		if _, ok := e.Kind().Severity(); !ok || e.ID == "" || e.Cluster == "" || e.SpecVersion != "1.0" {
			t.Fatalf("decoded %+v", e)
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatalf("an event that was decoded is not encoded: %v", err)
		}
		second, err := events.Decode(again)
		if err != nil {
			t.Fatalf("an event that was encoded is not decoded: %v", err)
		}
		if third, err := second.Encode(); err != nil || string(third) != string(again) {
			t.Fatalf("encodings differ: %s and %s, %v", again, third, err)
		}
	})
}
