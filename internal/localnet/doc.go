// Package localnet is a network of a few hosts on one machine whose packets all pass
// through this process, which loses and delays them as it is told.
//
// It promises that a lost packet is lost without a word to anybody, TCP and UDP alike,
// as on a real network: each host is a network namespace. It needs root and
// /dev/net/tun. It must never know what its hosts run.
package localnet
