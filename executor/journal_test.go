package executor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/executor"
	"healer/planner"
)

func openJournal(t *testing.T, dir string, maxBytes int64, keep int) *executor.Journal {
	t.Helper()
	j, err := executor.OpenJournal(dir, maxBytes, keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func record(t *testing.T, j *executor.Journal, runs ...string) {
	t.Helper()
	for _, r := range runs {
		if err := j.Record(executor.Entry{Event: executor.EntryBegin, Run: r}); err != nil {
			t.Fatal(err)
		}
	}
}

func runsOf(entries []executor.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Run)
	}
	return out
}

func TestJournalTellsOfRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, dir, 0, 0)
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10, 20)
		with := func(c *executor.Config) { c.Journal = j }
		newBench(t, m, &bus{}, "n1", with, crashAt(executor.AfterApply, "subscribe n1 n2")).recover(t, t.Context())
		for _, s := range m.servers {
			s.holder = ""
		}
		m.trouble = flaky("subscribe n1 n3", 2, transient())
		newBench(t, m, &bus{}, "n2", with).recover(t, t.Context())
		m.backUp = true
		plan, _ := m.plan(planner.Rejoin)
		newBench(t, m, &bus{}, "n3", with).exec.Run(t.Context(), plan)
	})
	past, err := j.History()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range past {
		if p.Node != dead || p.Incarnation != "i.1" || p.Started.IsZero() || len(p.Plan.Steps) == 0 {
			t.Errorf("a run without its plan: %+v", p)
		}
		got = append(got, fmt.Sprintf("%s %s %q", p.Run, p.Kind, p.State))
	}
	want := []string{`n1-a recovery ""`, `n2-a recovery "verified"`, `n3-a rejoin "rejoined"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	steps := map[string]string{}
	for _, s := range past[1].Steps {
		steps[name(s.Step)] = fmt.Sprintf("%s %d", s.State, s.Attempts)
	}
	// The killed run may or may not have come to the lane of n3.
	for step, is := range map[string]string{"fence n1": "already 1", "observe": "done 1", "verify n1": "done 1", "release n1 n2": "done 1"} {
		if steps[step] != is {
			t.Errorf("%s: %s, want %s", step, steps[step], is)
		}
	}
	for _, s := range past[0].Steps {
		if name(s.Step) == "subscribe n1 n2" && s.State != executor.StepPending {
			t.Errorf("the step in which the run was killed is remembered as %s", s.State)
		}
	}
	reopened := openJournal(t, dir, 0, 0)
	again, err := reopened.History()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(past, again); diff != "" {
		t.Errorf("reopened, it tells something else:\n%s", diff)
	}
}

// However a crash tears the file, what was recorded before the torn group is
// read back, and the journal goes on after it.
func TestTornTail(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "torn")
		if err != nil {
			rt.Fatal(err)
		}
		j := openJournal(t, dir, 0, 0)
		record(t, j, "one", "two", "three")
		path := filepath.Join(dir, "journal.jsonl")
		whole, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		cut := rapid.IntRange(0, len(whole)).Draw(rt, "bytes that made it to disk")
		torn := slices.Clone(whole[:cut])
		for range rapid.IntRange(0, 400).Draw(rt, "bytes of a longer group") {
			torn = append(torn, 'x')
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			rt.Fatal(err)
		}
		survive := strings.Count(string(whole[:cut]), "\n")
		j = openJournal(t, dir, 0, 0)
		record(t, j, "four")
		entries, err := j.Entries()
		if err != nil {
			rt.Fatal(err)
		}
		want := append([]string{"one", "two", "three"}[:survive:survive], "four")
		if diff := cmp.Diff(want, runsOf(entries)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestTornTailIsNoErrorWhileReading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, dir, 0, 0)
	record(t, j, "one")
	appendTo(t, filepath.Join(dir, "journal.jsonl"), `{"event":"be`)
	if entries, err := j.Entries(); err != nil || !cmp.Equal(runsOf(entries), []string{"one"}) {
		t.Errorf("%v %v", runsOf(entries), err)
	}
}

func TestSpoiltLineHidesNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, dir, 0, 0)
	record(t, j, "one")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(dir, "journal.jsonl"), "\x00\x00\x00\n")
	j = openJournal(t, dir, 0, 0)
	record(t, j, "two")
	entries, err := j.Entries()
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("nobody is told of the spoilt line: %v", err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, runsOf(entries)); diff != "" {
		t.Error(diff)
	}
	if past, err := j.History(); len(past) != 2 || err == nil {
		t.Errorf("history: %v, %v", past, err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, dir, 1000, 2)
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf("run-%03d", i))
	}
	record(t, j, all...)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Size() > 1000 {
			t.Errorf("%s has %d bytes, %v", f.Name(), info.Size(), err)
		}
	}
	entries, err := j.Entries()
	if err != nil {
		t.Fatal(err)
	}
	if got := runsOf(entries); len(got) < 10 || !cmp.Equal(got, all[len(all)-len(got):]) {
		t.Errorf("the newest entries are not kept in order: %v", got)
	}
}

func TestJournalOfManyWriters(t *testing.T) {
	t.Parallel()
	j := openJournal(t, t.TempDir(), 2000, 50)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				run := fmt.Sprintf("%d-%d", w, i)
				if err := j.Record(executor.Entry{Run: run}, executor.Entry{Run: run}); err != nil {
					t.Error(err)
				}
				if _, err := j.History(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := j.Entries()
	if err != nil || len(entries) != 80 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i := 0; i < len(entries); i += 2 {
		if entries[i].Run != entries[i+1].Run {
			t.Fatalf("the group of %s is torn apart", entries[i].Run)
		}
	}
}

func TestClosedJournal(t *testing.T) {
	t.Parallel()
	j := openJournal(t, t.TempDir(), 0, 0)
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if err := j.Record(executor.Entry{}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed journal records: %v", err)
	}
}

func TestJournalNeedsADirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err := executor.OpenJournal(file, 0, 0); err == nil {
		t.Errorf("a journal in a file: %v", j)
	}
}
