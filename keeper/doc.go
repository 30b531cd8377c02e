// Package keeper makes the recovery slots of one node and moves them forward,
// never past a gap.
//
// It promises that at any instant every foreign transaction which lies before
// a recovery slot's position in this node's log is flushed on the peer the slot
// is kept for; so a copy of the slot decodes whatever that peer may lack. What
// cannot be read moves nothing: the price of silence is disk, never data.
//
// The decisions (History, Decide) are pure; Keeper runs them. It imports only
// topology; whoever starts it supplies the Store.
package keeper
