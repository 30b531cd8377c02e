// Package report shows chaos runs: one of them as a page that needs nothing from
// elsewhere, and many of them as the tables and plots of the documentation.
//
// It promises that the same runs give the same bytes. It must never judge: what a run
// has broken it is told.
package report
