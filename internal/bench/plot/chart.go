package plot

// Chart is a picture that can be drawn on a sheet: Lines, Bars or Histogram.
type Chart interface {
	// frame returns the axes and what is inside of them.
	frame() frame
}

// Axis is one side of a chart. The zero Axis is linear, unnamed, and spans the
// figures.
type Axis struct {
	// Label says what the figures are, and their unit.
	Label string
	// Log makes the axis logarithmic, to the base of ten; figures that are not
	// positive are left out.
	Log bool
	// Min and Max widen what the figures span; both zero leave it as it is. A
	// linear axis that shows amounts begins at zero by itself.
	Min, Max float64
	// Ticks are the places of the marks; nil chooses round ones.
	Ticks []float64
}

// Point is one figure of a line.
type Point struct{ X, Y float64 }

// Line is a named series of points, in the order in which they are joined.
type Line struct {
	Name   string
	Points []Point
	// Dashed tells a line of a kind of its own: a claim, a limit, a baseline.
	Dashed bool
}

// Lines is a chart of lines with a mark at each point.
type Lines struct {
	Title string
	X, Y  Axis
	Lines []Line
	// Marks is false for lines of so many points that marks would hide them,
	// such as distributions.
	Marks bool
}

// Bar is a named series of bars, one value for each group of the chart. A NaN
// leaves its place empty.
type Bar struct {
	Name   string
	Values []float64
	// High, if given, has one value for each bar, to which a thin line reaches
	// up from its end: a 99th percentile above a median, say.
	High []float64
}

// Bars is a chart of groups of bars.
type Bars struct {
	Title string
	Y     Axis
	// Groups are the names below the bars.
	Groups []string
	Bars   []Bar
}

// Histogram is a chart of how often values fall into each of a number of equal
// bins.
type Histogram struct {
	Title string
	X     Axis
	// Y is named "count" unless it has a label.
	Y      Axis
	Values []float64
	// Bins is how many there are; 0 means 20. On a logarithmic axis they are
	// equal in the logarithm.
	Bins int
}

// SVG draws one chart as a file.
func SVG(c Chart) []byte { return Sheet(1, c) }

// Sheet draws charts side by side in so many columns, row by row, as one file.
func Sheet(columns int, charts ...Chart) []byte {
	columns = max(1, min(columns, len(charts)))
	rows := (len(charts) + columns - 1) / columns
	var w writer
	w.open(float64(columns)*width, float64(rows)*height)
	for i, c := range charts {
		w.at(float64(i%columns)*width, float64(i/columns)*height)
		w.frame(c.frame())
		w.end()
	}
	return w.close()
}

// Distribution is the line of the shares of values, 0 to 1, that are at most x.
// The values must be sorted.
func Distribution(name string, sorted []float64) Line {
	l := Line{Name: name}
	for i, v := range sorted {
		l.Points = append(l.Points, Point{X: v, Y: float64(i+1) / float64(len(sorted))})
	}
	return l
}
