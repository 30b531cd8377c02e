// Package draw has what the live views are drawn of: frames, colours, columns, and
// the plan of a recovery as its events tell it.
//
// It promises that what it returns depends on its arguments alone. It must never write
// to a terminal.
package draw
