// Package mutants builds agents with one deliberate bug each, to show that the chaos
// harness would find it.
//
// A mutant is a text that stands in the place of another one while the program is
// built (go build -overlay). So nothing of it is in any source file or in any binary
// but its own; and when the code has changed so that a mutant does not fit any more, a
// test says so.
package mutants
