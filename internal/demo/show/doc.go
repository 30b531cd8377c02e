// Package show presents a run of the demo while it happens: as a live view on a
// terminal, or as plain lines.
//
// It promises that a presenter never delays what it presents and never changes
// it: it is handed Updates, which are plain values, and only draws. It must
// never import the scenario.
package show
