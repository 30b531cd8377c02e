// Package meter says how far something is that takes a while, and how long it may still
// take: on a terminal in one line that moves, elsewhere in a line now and then.
//
// It promises to say nothing of what is done within two seconds, to keep its line apart
// from other text that is written through it, and to have ended when Stop returns.
package meter
