// Package tlsfile makes TLS configurations of certificates and keys in files, and
// takes over what the files become while the process runs: a renewed certificate
// needs no restart.
//
// It promises that files which cannot be used change nothing: what was in use stays,
// and Status says why. It imports the standard library and secretfile only.
package tlsfile
