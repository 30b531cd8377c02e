package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		all  []float64
		p    float64
		want float64
	}{
		{nil, 50, 0},
		{[]float64{7}, 50, 7},
		{[]float64{7}, 99, 7},
		{[]float64{3, 1, 2}, 50, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
	} {
		if got := percentile(c.all, c.p); got != c.want {
			t.Errorf("percentile %v of %d values: %v, want %v", c.p, len(c.all), got, c.want)
		}
	}
}

// rounds are 4 runs, of which one did not converge.
func rounds() []round {
	var out []round
	for i, ms := range []int{900, 700, 5000, 1100} {
		out = append(out, round{
			lost: "n1", converged: i != 2, total: time.Duration(ms) * time.Millisecond,
			phases: map[string]time.Duration{phaseDetect: time.Duration(ms/2) * time.Millisecond, "verify": 20 * time.Millisecond},
		})
	}
	return out
}

func TestARunThatDidNotConvergeIsToldAndNotCounted(t *testing.T) {
	t.Parallel()
	r := summarize(rounds(), options{rows: 10_000, nodes: 3})
	if r.Runs != 4 || r.Converged || r.ConvergedRuns != 3 || r.P50 != 900 || r.P99 != 1100 || r.failed() == nil {
		t.Errorf("%+v, %v", r, r.failed())
	}
	if diff := cmp.Diff(spread{P50: 450, P99: 550}, r.Phases[phaseDetect]); diff != "" {
		t.Error(diff)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options{
		rows: 10_000, nodes: 3, out: filepath.Join(dir, "out", "heal.json"), svg: filepath.Join(dir, "out", "heal.svg"),
		docs: filepath.Join(dir, "doc.md"),
	}
	page := "before\n" + docsBegin + "\nold figures\n" + docsEnd + "\nafter\n"
	if err := os.WriteFile(o.docs, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	all := rounds()
	for range 2 { // a second writing finds its lines again
		if err := summarize(append(all[:2:2], all[3]), o).write(o); err != nil {
			t.Fatal(err)
		}
	}
	var doc struct {
		Runs      int                           `json:"runs"`
		P50       float64                       `json:"p50_ms"`
		P99       float64                       `json:"p99_ms"`
		Converged bool                          `json:"converged"`
		Phases    map[string]map[string]float64 `json:"phases"`
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := json.Unmarshal(read(o.out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Runs != 3 || doc.P50 != 900 || doc.P99 != 1100 || !doc.Converged || len(doc.Phases) != len(phaseNames()) {
		t.Errorf("%+v", doc)
	}
	x := xml.NewDecoder(strings.NewReader(string(read(o.svg))))
	for {
		if _, err := x.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	got := string(read(o.docs))
	if !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "\nafter\n") || strings.Contains(got, "old") ||
		strings.Count(got, "| kill to recovery.verified | 900 | 1100 |") != 1 {
		t.Errorf("the document is\n%s", got)
	}
	if err := os.WriteFile(o.docs, []byte("no place"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (result{}).rewrite(o.docs); err == nil || !strings.Contains(err.Error(), docsBegin) {
		t.Errorf("a document without a place: %v", err)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for flag, args := range map[string][]string{
		"-runs 0":  {"-runs", "0"},
		"-rows 1":  {"-rows", "1"},
		"-nodes 2": {"-nodes", "2"},
		"-program": {"-program", filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := parse(args); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
