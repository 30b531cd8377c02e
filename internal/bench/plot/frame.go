package plot

import "math"

// The measures of one chart, in pixels.
const (
	width, height            = 560.0, 340.0
	left, right, top, bottom = 64.0, 16.0, 40.0, 52.0
	// legendRow is the height of one line of the legend, legendWidth about what
	// a character takes.
	legendRow, charWidth = 16.0, 6.6
)

// frame is a chart ready to be drawn: axes, legend and the marks inside.
type frame struct {
	title          string
	xLabel, yLabel string
	x, y           scale
	// groups are the names below the axis instead of figures, each at its place.
	groups []group
	legend []entry
	shapes []shape
}

type group struct {
	at   float64
	name string
}

// entry is one line of the legend.
type entry struct {
	name   string
	colour string
	dashed bool
}

// shape is something inside the axes.
type shape interface{ draw(w *writer) }

// colours are those of Okabe and Ito, which people with any kind of sight tell
// apart, without the yellow.
func colours() []string {
	return []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555"}
}

func colour(i int) string { c := colours(); return c[i%len(c)] }

// inner is where the marks go below a legend of so many rows.
func inner(rows int) (x0, x1, y0, y1 float64) {
	return left, width - right, height - bottom, top + float64(rows)*legendRow
}

// rowsOf is how many rows a legend takes.
func rowsOf(es []entry) int {
	rows, x := 0, 0.0
	for _, e := range es {
		w := entryWidth(e)
		if rows == 0 || x+w > width-left-right {
			rows, x = rows+1, 0
		}
		x += w
	}
	return rows
}

func entryWidth(e entry) float64 { return 34 + charWidth*float64(len([]rune(e.name))) }

func (l Lines) frame() frame {
	var xs, ys []float64
	f := frame{title: l.Title, xLabel: l.X.Label, yLabel: l.Y.Label}
	for i, line := range l.Lines {
		f.legend = append(f.legend, entry{line.Name, colour(i), line.Dashed})
		for _, p := range line.Points {
			if l.X.shows(p.X) && l.Y.shows(p.Y) {
				xs, ys = append(xs, p.X), append(ys, p.Y)
			}
		}
	}
	x0, x1, y0, y1 := inner(rowsOf(f.legend))
	f.x, f.y = scaleOf(l.X, xs, false, x0, x1), scaleOf(l.Y, ys, true, y0, y1)
	for i, line := range l.Lines {
		s := polyline{colour: colour(i), dashed: line.Dashed, marks: l.Marks}
		for _, p := range line.Points {
			if l.X.shows(p.X) && l.Y.shows(p.Y) {
				s.points = append(s.points, Point{f.x.place(p.X), f.y.place(p.Y)})
			}
		}
		f.shapes = append(f.shapes, s)
	}
	return f
}

func (b Bars) frame() frame {
	f := frame{title: b.Title, yLabel: b.Y.Label}
	var ys []float64
	for i, s := range b.Bars {
		if len(b.Bars) > 1 || s.Name != "" {
			f.legend = append(f.legend, entry{name: s.Name, colour: colour(i)})
		}
		ys = append(append(ys, s.Values...), s.High...)
	}
	x0, x1, y0, y1 := inner(rowsOf(f.legend))
	f.y = scaleOf(b.Y, ys, true, y0, y1)
	share := (x1 - x0) / float64(max(1, len(b.Groups)))
	bar := share * 0.8 / float64(max(1, len(b.Bars)))
	for g, name := range b.Groups {
		from := x0 + float64(g)*share
		f.groups = append(f.groups, group{from + share/2, name})
		for i, s := range b.Bars {
			if g >= len(s.Values) || !b.Y.shows(s.Values[g]) {
				continue
			}
			r := rect{x: from + share*0.1 + float64(i)*bar, w: bar, y: f.y.place(s.Values[g]), base: y0, colour: colour(i), high: math.NaN()}
			if g < len(s.High) && b.Y.shows(s.High[g]) {
				r.high = f.y.place(s.High[g])
			}
			f.shapes = append(f.shapes, r)
		}
	}
	return f
}

func (h Histogram) frame() frame {
	f := frame{title: h.Title, xLabel: h.X.Label, yLabel: h.Y.Label}
	if f.yLabel == "" {
		f.yLabel = "count"
	}
	x0, x1, y0, y1 := inner(0)
	f.x = scaleOf(h.X, h.Values, false, x0, x1)
	n := h.Bins
	if n <= 0 {
		n = 20
	}
	counts := make([]float64, n)
	for _, v := range h.Values {
		if h.X.shows(v) {
			share := (f.x.place(v) - x0) / (x1 - x0)
			counts[max(0, min(n-1, int(share*float64(n))))]++
		}
	}
	f.y = scaleOf(h.Y, counts, true, y0, y1)
	for i, c := range counts {
		if h.Y.shows(c) && c > 0 {
			w := (x1 - x0) / float64(n)
			f.shapes = append(f.shapes, rect{x: x0 + float64(i)*w, w: w, y: f.y.place(c), base: y0, colour: colour(0), high: math.NaN()})
		}
	}
	return f
}
