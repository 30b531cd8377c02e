// Package transfer fills the tables of one server with the rows of another, as they
// are in one snapshot. What it writes carries an origin, so that a mesh of
// origin = none does not send it on.
//
// It promises that either all rows of a table are there or none, and that every
// table is of the same snapshot. It imports the handle on servers only.
package transfer
