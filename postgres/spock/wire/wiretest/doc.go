// Package wiretest writes Spock's native protocol, for tests: no server with Spock is
// needed to read its stream.
package wiretest
