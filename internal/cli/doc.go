// Package cli is the command line: flags in, text or JSON out, an exit code.
//
// It promises that results go to standard output and errors to standard error,
// that every error comes with what to do about it, and that an exit code has one
// meaning. It must never contain a decision of the healer: those belong to the
// packages it shows.
package cli
