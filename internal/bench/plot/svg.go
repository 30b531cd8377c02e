package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// writer writes the elements of an SVG file.
type writer struct{ buf bytes.Buffer }

const ink, grid = "#333333", "#dddddd"

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(&w.buf, format, args...) }

// n is a coordinate: a tenth of a pixel is enough.
func n(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func (w *writer) open(width, height float64) {
	w.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%[1]s" height="%[2]s" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		n(width), n(height), ink)
	w.printf(`<rect width="%s" height="%s" fill="#ffffff"/>`+"\n", n(width), n(height))
}

func (w *writer) at(x, y float64) { w.printf(`<g transform="translate(%s %s)">`+"\n", n(x), n(y)) }

func (w *writer) end() { w.printf("</g>\n") }

func (w *writer) close() []byte {
	w.printf("</svg>\n")
	return w.buf.Bytes()
}

func (w *writer) line(x1, y1, x2, y2 float64, colour string) {
	w.printf(`<path d="M%s %sL%s %s" stroke="%s" fill="none"/>`+"\n", n(x1), n(y1), n(x2), n(y2), colour)
}

// text writes s around, before or after a point; anchor is start, middle or
// end, extra further attributes.
func (w *writer) text(x, y float64, anchor, extra, s string) {
	w.printf(`<text x="%s" y="%s" text-anchor="%s"%s>`, n(x), n(y), anchor, extra)
	_ = xml.EscapeText(&w.buf, []byte(s)) // a buffer never fails
	w.printf("</text>\n")
}

func (w *writer) frame(f frame) {
	x0, x1, y0, y1 := inner(rowsOf(f.legend))
	w.text(left, 20, "start", ` font-size="14" font-weight="bold"`, f.title)
	w.legend(f.legend)
	for _, t := range f.y.ticks {
		y := f.y.place(t)
		w.line(x0, y, x1, y, grid)
		w.text(x0-6, y+4, "end", "", figure(t))
	}
	for _, t := range f.x.ticks {
		x := f.x.place(t)
		w.line(x, y0, x, y0+4, ink)
		w.text(x, y0+17, "middle", "", figure(t))
	}
	for _, g := range f.groups {
		w.text(g.at, y0+17, "middle", "", g.name)
	}
	for _, s := range f.shapes {
		s.draw(w)
	}
	w.line(x0, y0, x1, y0, ink)
	w.text((x0+x1)/2, height-12, "middle", "", f.xLabel)
	middle := (y0 + y1) / 2
	w.text(14, middle, "middle", fmt.Sprintf(` transform="rotate(-90 14 %s)"`, n(middle)), f.yLabel)
}

func (w *writer) legend(es []entry) {
	x, y := left, top
	for _, e := range es {
		if x > left && x+entryWidth(e) > width-right {
			x, y = left, y+legendRow
		}
		w.printf(`<path d="M%s %sh18" stroke="%s" stroke-width="3" fill="none"%s/>`+"\n", n(x), n(y-4), e.colour, dash(e.dashed))
		w.text(x+22, y, "start", "", e.name)
		x += entryWidth(e)
	}
}

func dash(on bool) string {
	if on {
		return ` stroke-dasharray="5 4"`
	}
	return ""
}

// polyline is a series of points, in pixels.
type polyline struct {
	points []Point
	colour string
	dashed bool
	marks  bool
}

func (p polyline) draw(w *writer) {
	if len(p.points) == 0 {
		return
	}
	var d strings.Builder
	for i, at := range p.points {
		d.WriteString(map[bool]string{true: "M", false: "L"}[i == 0] + n(at.X) + " " + n(at.Y))
	}
	w.printf(`<path d="%s" stroke="%s" stroke-width="2" fill="none"%s/>`+"\n", d.String(), p.colour, dash(p.dashed))
	if !p.marks {
		return
	}
	for _, at := range p.points {
		w.printf(`<circle cx="%s" cy="%s" r="3" fill="%s"/>`+"\n", n(at.X), n(at.Y), p.colour)
	}
}

// rect is a bar, in pixels; high is the end of its thin line, or NaN.
type rect struct {
	x, w, y, base float64
	colour        string
	high          float64
}

func (r rect) draw(w *writer) {
	y, h := min(r.y, r.base), math.Abs(r.base-r.y)
	w.printf(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s" stroke="#ffffff" stroke-width="0.5"/>`+"\n", n(r.x), n(y), n(r.w), n(h), r.colour)
	if math.IsNaN(r.high) {
		return
	}
	mid := r.x + r.w/2
	w.line(mid, r.y, mid, r.high, ink)
	w.line(mid-4, r.high, mid+4, r.high, ink)
}
