// Package plot draws the figures of the benchmarks as SVG files: lines, bars
// and histograms, on linear or logarithmic axes.
//
// It promises that the same figures give the same bytes, that the file stands
// alone (no font, script or style from elsewhere), and that it can be read on
// light and on dark pages and by people who do not see all colours.
package plot
