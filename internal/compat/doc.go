// Package compat is for tests of what crosses between two versions of Healer: messages,
// events, files of a data directory. They are kept as an earlier version has written them.
//
// It promises that what passes Check can be read by this version whole, and that a newer
// version may add fields. It knows nothing of what it checks.
package compat
