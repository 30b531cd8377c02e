// Package drive has the commands for those who drive a recovery by hand, or
// want to know what one would do: `healer recovery plan|run|watermark` and
// `healer slots`.
//
// They talk to the servers of the cluster's file, and need no agent. They
// decide nothing of their own: the plan is the planner's, and what is done to a
// slot the engine does, which knows Healer's slots from others'. A recovery is carried
// out by the executor with the handlers that agents have.
package drive
