// Package config reads the one file that describes a cluster.
//
// It promises that a file which loads can be run: every key is known, every
// value has the right form and lies in its range, and nothing contradicts
// anything else. A file which does not load is answered with all of its
// problems at once, each with its position, the field, the value and the
// remedy. What a DSN contains beyond its place in the file is never shown.
//
// It imports a YAML parser and the vocabulary of topology. It must never import
// a PostgreSQL driver (the caller brings the check of a DSN), open a connection,
// or read the environment.
package config
