// Package sim runs whole clusters of agents in the fake time of testing/synctest:
// on a network that delays and loses packets, cuts lines and freezes members, with
// servers that die, hang and come back.
//
// It promises: nothing in it leaves the bubble it is used in, and no sender ever
// waits for a dead peer. The network's dice are seeded; those of memberlist are its
// own, and so is the order of goroutines: figures vary a little from run to run.
package sim
