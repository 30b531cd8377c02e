// Package discover is the command `healer init`: a cluster's file out of what the
// servers' catalogs say, beginning at one of them.
//
// It promises that it only reads, that no password is in what it writes or says, and
// that what it cannot read or does not take for a part of the mesh is named. It must
// never guess who a server is: every one is asked.
package discover
