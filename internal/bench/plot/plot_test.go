package plot_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/internal/bench/plot"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func samples() map[string][]byte {
	lines := plot.Lines{
		Title: "Detection <p50 & p99>", X: plot.Axis{Label: "members", Log: true, Ticks: []float64{3, 9, 33, 129}},
		Y: plot.Axis{Label: "ms", Log: true}, Marks: true,
		Lines: []plot.Line{
			{Name: "healer", Points: []plot.Point{{X: 3, Y: 120}, {X: 9, Y: 130}, {X: 33, Y: 128}, {X: 129, Y: 140}}},
			{Name: "plain memberlist, LAN defaults", Dashed: true, Points: []plot.Point{{X: 3, Y: 5700}, {X: 129, Y: 9800}}},
		},
	}
	bars := plot.Bars{
		Title: "Cases", Y: plot.Axis{Label: "s"}, Groups: []string{"kill", "vanish", "frozen"},
		Bars: []plot.Bar{
			{Name: "healer", Values: []float64{0.1, 1.2, math.NaN()}, High: []float64{0.3, 2.1, math.NaN()}},
			{Name: "memberlist", Values: []float64{5.7, 5.9, 6.1}},
		},
	}
	histogram := plot.Histogram{
		Title: "Times", X: plot.Axis{Label: "ms"}, Bins: 5,
		Values: []float64{1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 9.9, 10},
	}
	share := plot.Lines{Title: "Shares", X: plot.Axis{Label: "ms"}, Y: plot.Axis{Label: "share"}, Lines: []plot.Line{plot.Distribution("all", []float64{1, 2, 2, 10})}}
	return map[string][]byte{
		"lines.svg": plot.SVG(lines), "bars.svg": plot.SVG(bars), "histogram.svg": plot.SVG(histogram),
		"sheet.svg": plot.Sheet(2, lines, bars, share),
	}
}

func TestGolden(t *testing.T) {
	for name, got := range samples() {
		wellFormed(t, got)
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s (-want +got), -rewrite to accept:\n%s", name, d)
		}
	}
}

type fataler interface {
	Fatal(args ...any)
	Helper()
}

func wellFormed(t fataler, b []byte) {
	t.Helper()
	for dec := xml.NewDecoder(bytes.NewReader(b)); ; {
		switch _, err := dec.Token(); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Fatal("the file is no XML:", err)
		}
	}
}

// Whatever the figures are, the file is well formed and has no coordinate that
// is not a number.
func TestAnyFigures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Float64Range(-1e9, 1e9), rapid.SampledFrom([]float64{0, math.NaN(), math.Inf(1), 1e-12}))
		vs := rapid.SliceOfN(value, 0, 8).Draw(t, "values")
		axis := plot.Axis{Log: rapid.Bool().Draw(t, "log"), Label: rapid.String().Draw(t, "label")}
		l := plot.Line{Name: "l"}
		for i, v := range vs {
			l.Points = append(l.Points, plot.Point{X: float64(i), Y: v})
		}
		b := plot.Sheet(2,
			plot.Lines{X: plot.Axis{}, Y: axis, Lines: []plot.Line{l}, Marks: true},
			plot.Bars{Y: axis, Groups: []string{"a", "b"}, Bars: []plot.Bar{{Values: vs, High: vs}}},
			plot.Histogram{X: axis, Values: vs})
		wellFormed(t, b)
		for _, word := range []string{"NaN", "Inf"} {
			if strings.Contains(string(b), word) {
				t.Fatalf("the file has a %s:\n%s", word, b)
			}
		}
	})
}
