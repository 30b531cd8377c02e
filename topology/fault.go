package topology

import (
	"errors"
	"fmt"
)

// Class says what a failed action may hope for when it is tried again.
type Class int

const (
	// Permanent errors stay until somebody changes something: trying again
	// at once is useless. It is the zero value, so an error that nobody has
	// classified is never retried blindly.
	Permanent Class = iota
	// Transient errors pass by themselves: a lost connection, a server that
	// starts up, a slot still held by a session that is ending.
	Transient
	// Conflict means that another actor holds what the action needs, such as
	// the recovery lock of an origin. The actor that is in possession goes
	// on; this one observes again before it does anything.
	Conflict
)

// String names the class as journals and metrics show it.
func (c Class) String() string {
	switch c {
	case Transient:
		return "transient"
	case Conflict:
		return "conflict"
	default:
		return "permanent"
	}
}

// Fault is an error with what an operator needs beside it: its class, a stable
// code, and the remedy.
type Fault struct {
	Class Class
	// Code is a stable, machine-readable name such as "lock_held" or an
	// SQLSTATE such as "57P03".
	Code string
	// Node is the server on which it happened; empty when it is not of one.
	Node string
	// Hint is the remedy in the imperative, a command where there is one.
	Hint string
	// Err is the cause.
	Err error
}

// Error implements error.
func (f *Fault) Error() string {
	msg := f.Code
	if f.Err != nil {
		msg = f.Err.Error()
	}
	if f.Node != "" {
		msg = f.Node + ": " + msg
	}
	if f.Hint != "" {
		msg += " (" + f.Hint + ")"
	}
	return msg
}

// Unwrap gives the cause to errors.Is and errors.As.
func (f *Fault) Unwrap() error { return f.Err }

// ClassOf returns the class of the outermost Fault in err's chain, or Permanent
// when there is none.
func ClassOf(err error) Class {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return Permanent
}

// Faultf makes a Fault from a format, without a node or a hint.
func Faultf(class Class, code, format string, args ...any) *Fault {
	return &Fault{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
