// Package nodes is the commands `healer node list`, `drop` and `rebuild`: what is
// done to a node that does not come back as it was.
//
// They connect to the servers by the DSNs of the file and need no agent: what they
// have done is read from the catalogs, so each may be killed anywhere and run again.
package nodes
