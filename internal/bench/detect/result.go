package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// figures are the outcome of a number of trials.
type figures struct {
	Trials int `json:"trials"`
	// P50 and P99 are from the fault to the last survivor's verdict, in ms; 0
	// where nothing is to be detected.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	// Wrong is the number of trials in which anybody judged a node failed that
	// had not.
	Wrong   int       `json:"wrong"`
	Samples []float64 `json:"samples_ms,omitempty"`
}

// result is one case.
type result struct {
	Name string `json:"name"`
	figures
	// Lan and Tuned are plain memberlist, with its defaults for a LAN and with
	// the agents' intervals; nil where it has no part.
	Lan   *figures `json:"memberlist_lan,omitempty"`
	Tuned *figures `json:"memberlist_tuned,omitempty"`
}

func (r *result) plain(tuned bool) *figures {
	p := &r.Lan
	if tuned {
		p = &r.Tuned
	}
	if *p == nil {
		*p = &figures{}
	}
	return *p
}

func ms(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/100) / 10 }

// conclude makes the percentiles.
func (f *figures) conclude() {
	if f == nil || len(f.Samples) == 0 {
		return
	}
	slices.Sort(f.Samples)
	f.Trials = max(f.Trials, len(f.Samples))
	f.P50, f.P99 = percentile(f.Samples, 0.50), percentile(f.Samples, 0.99)
}

// percentile is the smallest value that a share of the sorted ones does not exceed.
func percentile(sorted []float64, share float64) float64 {
	return sorted[max(int(math.Ceil(share*float64(len(sorted))))-1, 0)]
}

// book is the file of results.
type book struct {
	Cases []result `json:"cases"`
	Idle  []cost   `json:"idle,omitempty"`
}

func readBook(file string) (book, error) {
	var b book
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	return b, err
}

func (b book) write(file string) error {
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}

// put replaces the case of that name, or adds it, in the order of the cases.
func (b *book) put(r result) {
	if i := slices.IndexFunc(b.Cases, func(o result) bool { return o.Name == r.Name }); i >= 0 {
		b.Cases[i] = r
	} else {
		b.Cases = append(b.Cases, r)
	}
	order := map[string]int{}
	for i, c := range cases() {
		order[c.name] = i
	}
	slices.SortStableFunc(b.Cases, func(x, y result) int { return order[x.Name] - order[y.Name] })
}

func (b book) find(name string) (result, bool) {
	i := slices.IndexFunc(b.Cases, func(r result) bool { return r.Name == name })
	if i < 0 {
		return result{}, false
	}
	return b.Cases[i], true
}
