// Package scenario is chaos runs as files: which faults befall which cluster when,
// what the clients write meanwhile, and what is expected. Scenarios are read strictly,
// drawn from a seed, and reduced to shorter ones.
//
// It promises that the same seed and the same options always give the same scenario,
// and that what it writes it can read. It must never make a fault.
package scenario
