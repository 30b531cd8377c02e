// Package goschema writes JSON Schemas from Go types and their comments, so that what
// is documented is what is sent. It is for tests that keep documents.
package goschema
