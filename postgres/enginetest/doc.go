// Package enginetest is the contract of an engine, as tests over meshes of real
// servers: what is discovered, how progress is read, also behind a crash, how a node is
// fenced off and let in again whether its provider is dead or hangs, how slots are kept,
// and how a log is decoded by origins. Each dialect's package runs it.
//
// It must only be imported by tests.
package enginetest
