// Package fault is what can befall a cluster, as data: each kind of fault with how it
// is injected, how it is healed, and what proves that it took effect.
//
// It promises that a fault which did not take effect is an error and not a fault that
// passed unnoticed, and that healing what was injected is possible at any moment, also
// half way through an injection. What a world cannot do it says, with the reason and
// the remedy (ErrUnable). It must never judge what the cluster makes of a fault.
package fault
