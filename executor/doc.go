// Package executor runs plans: it takes a plan's steps in order, those that do
// not depend on each other side by side, and for each asks whether it is done
// already before it acts.
//
// It promises that a run can be killed at any instant and repeated by anyone:
// nothing here remembers what was done, the handlers' Check reads it from the
// catalogs. The journal and the events tell of a run and never decide one. Run
// leaves no goroutine behind.
//
// It must never import a database driver, a broker, or the packages that do the
// work: handlers are given to it.
package executor
