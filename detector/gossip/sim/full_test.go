package sim_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"healer/detector/gossip/sim"
)

var (
	full    = flag.String("full", "", "run the whole simulation and write its figures into this `directory`")
	doc     = flag.String("doc", "", "the `document` whose table and picture are written anew; empty writes none")
	largest = flag.Int("largest", 257, "the greatest `number` of members")
)

// runs are the runs of one system at one size and loss.
type runs struct {
	setup sim.Setup
	seeds int
}

// plan is everything that is tried. The end of processes and that of a host are the
// same to bare memberlist. Healer's agents all speak to one another, and all probe
// all servers, so the work grows with the cube of the members: it ends at 33.
func plan() []runs {
	var out []runs
	long := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	for _, loss := range []float64{0, 0.05, 0.2} {
		for _, c := range []struct {
			members, crashes, seeds int
			pauses                  []time.Duration
		}{{3, 1, 20, long}, {5, 2, 10, long}, {9, 4, 5, long}, {33, 10, 1, long}, {129, 4, 1, long[1:3]}, {257, 3, 1, long[1:2]}} {
			for _, system := range []sim.System{sim.LAN, sim.Tuned} {
				out = append(out, runs{sim.Setup{
					System: system, Members: c.members, Loss: loss, Latency: time.Millisecond,
					Crashes: c.crashes, Pauses: c.pauses, Quiet: 3 * time.Second, Settle: 3 * time.Second,
				}, c.seeds})
			}
		}
		for _, c := range []struct{ members, kills, crashes, seeds int }{{3, 1, 0, 10}, {3, 0, 1, 10}, {5, 1, 1, 8}, {9, 2, 2, 3}} {
			out = append(out, runs{sim.Setup{
				System: sim.Healer, Members: c.members, Loss: loss, Latency: time.Millisecond,
				Kills: c.kills, Crashes: c.crashes, Quiet: 2 * time.Second, Settle: 3 * time.Second, Pauses: long,
			}, c.seeds})
		}
	}
	return append(out, runs{sim.Setup{
		System: sim.Healer, Members: 33, Loss: 0.05, Latency: time.Millisecond,
		Kills: 1, Crashes: 1, Quiet: time.Second, Settle: time.Second,
	}, 1})
}

// key tells the rows of the report apart.
type key struct {
	system  sim.System
	members int
	loss    float64
}

// TestFull makes the published figures; without -full it only checks that small
// reports are made.
func TestFull(t *testing.T) {
	whole := *full != ""
	setups, outs := map[key]sim.Setup{}, map[key][]sim.Outcome{}
	var order []key
	var mu sync.Mutex
	t.Run("runs", func(t *testing.T) {
		for _, r := range plan() {
			if r.setup.Members > *largest || !whole && (r.setup.Members > 3 || r.setup.System == sim.Healer || r.setup.Loss > 0) {
				continue
			}
			k := key{r.setup.System, r.setup.Members, r.setup.Loss}
			if _, had := setups[k]; !had {
				order = append(order, k)
			}
			setups[k] = r.setup
			if !whole {
				r.seeds, r.setup.Pauses = 1, nil
			}
			t.Run(fmt.Sprintf("%s %d loss %v", k.system, k.members, k.loss), func(t *testing.T) {
				t.Parallel()
				for seed := range r.seeds {
					s := r.setup
					s.Seed = uint64(seed + 1) //nolint:gosec // small
					if seed >= 2 {
						s.Pauses = nil // the ends are what needs many runs
					}
					out := try(t, s)
					mu.Lock()
					outs[k] = append(outs[k], out)
					mu.Unlock()
				}
			})
		}
	})
	dir := *full
	if !whole {
		dir = t.TempDir()
	}
	// Rows of what -run has left out stay as an earlier run made them.
	earlier := read(t, dir)
	var rows []sim.Row
	for _, k := range order {
		if len(outs[k]) > 0 {
			rows = append(rows, sim.Summary(setups[k], outs[k]))
		} else if row, had := earlier[k]; had {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b sim.Row) int {
		return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Loss, b.Loss), cmp.Compare(a.Members, b.Members))
	})
	write(t, dir, rows)
}

// report is the file of figures.
type report struct {
	Cases []sim.Row `json:"cases"`
}

// read returns the rows that an earlier run has left in dir.
func read(t *testing.T, dir string) map[key]sim.Row {
	t.Helper()
	var r report
	body, err := os.ReadFile(filepath.Join(dir, "sim-detect.json"))
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	rows := map[key]sim.Row{}
	for _, row := range r.Cases {
		rows[key{row.System, row.Members, row.Loss}] = row
	}
	return rows
}

func write(t *testing.T, dir string, rows []sim.Row) {
	t.Helper()
	body, err := json.MarshalIndent(report{rows}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	picture := sim.Picture(rows, 0.05)
	files := map[string][]byte{
		filepath.Join(dir, "sim-detect.json"): append(body, '\n'),
		filepath.Join(dir, "sim-detect.svg"):  picture,
		filepath.Join(dir, "sim-detect.md"):   []byte(sim.Table(rows)),
	}
	if *doc != "" {
		text, err := os.ReadFile(*doc)
		if err != nil {
			t.Fatal(err)
		}
		if text, err = sim.Insert(text, sim.Table(rows)); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", *doc, err))
		}
		files[*doc] = text
		files[filepath.Join(filepath.Dir(*doc), "sim-detect.svg")] = picture
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
