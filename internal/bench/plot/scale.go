package plot

import (
	"math"
	"slices"
	"strconv"
)

// scale maps the figures of one axis to pixels between from and to.
type scale struct {
	lo, hi   float64
	log      bool
	from, to float64
	ticks    []float64
}

// span is the range of the figures that an axis can show.
func span(a Axis, vs []float64) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range vs {
		if a.shows(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if a.Min != 0 || a.Max != 0 {
		for _, v := range []float64{a.Min, a.Max} {
			if a.shows(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	return lo, hi, lo <= hi
}

// shows reports whether the axis has a place for v.
func (a Axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.Log || v > 0)
}

// scaleOf makes the scale of an axis for the given figures. amount makes a
// linear axis begin at zero.
func scaleOf(a Axis, vs []float64, amount bool, from, to float64) scale {
	lo, hi, ok := span(a, vs)
	if !ok {
		lo, hi = 0, 1
		if a.Log {
			lo, hi = 1, 10
		}
	}
	if !a.Log && amount {
		lo, hi = min(lo, 0), max(hi, 0)
	}
	if lo == hi {
		if a.Log {
			lo, hi = lo/2, hi*2
		} else {
			hi = lo + 1
		}
	}
	s := scale{lo: lo, hi: hi, log: a.Log, from: from, to: to, ticks: a.Ticks}
	if s.ticks != nil {
		return s
	}
	if a.Log {
		s.ticks = decades(lo, hi)
		s.lo, s.hi = min(lo, s.ticks[0]), max(hi, s.ticks[len(s.ticks)-1])
		return s
	}
	step := roundStep((hi - lo) / 5)
	first, last := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
	for i := first; i <= last; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	s.lo, s.hi = first*step, last*step
	return s
}

// decades are the powers of ten around lo and hi; with few of them also their
// doubles and fivefolds, and then no more than are needed.
func decades(lo, hi float64) []float64 {
	first, last := math.Floor(math.Log10(lo)+1e-9), math.Ceil(math.Log10(hi)-1e-9)
	factors := []float64{1}
	if last-first <= 3 {
		factors = []float64{1, 2, 5}
	}
	var all []float64
	for e := first; e <= last; e++ {
		for _, f := range factors {
			all = append(all, f*math.Pow(10, e))
		}
	}
	// From the last tick at or below lo to the first at or above hi.
	i := max(0, len(all)-1)
	for i > 0 && all[i] > lo*(1+1e-9) {
		i--
	}
	j := slices.IndexFunc(all, func(v float64) bool { return v >= hi*(1-1e-9) })
	if j < 0 {
		j = len(all) - 1
	}
	return all[i : max(i+1, j)+1]
}

// roundStep is the smallest of 1, 2, 5 times a power of ten that is at least v.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= v*(1-1e-9) {
			return f * power
		}
	}
	return 10 * power
}

// place is the pixel of a figure.
func (s scale) place(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		lo, hi, v = math.Log10(lo), math.Log10(hi), math.Log10(v)
	}
	return s.from + (v-lo)/(hi-lo)*(s.to-s.from)
}

// figure writes a number for people: thousands and millions shortened.
func figure(v float64) string {
	abs := math.Abs(v)
	switch {
	case abs >= 1e6:
		return trim(v/1e6) + "M"
	case abs >= 1e4:
		return trim(v/1e3) + "k"
	default:
		return trim(v)
	}
}

// trim writes at most four digits, and no zeros behind the point.
func trim(v float64) string {
	if math.Abs(v) >= 1000 {
		v = math.Round(v)
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
