// Package demo shows the whole of Healer on this machine: real servers, real
// agents, a node that falls behind, a node that is killed, the healing, the
// return, and the proof that every row is equal everywhere.
//
// It promises that what it reports was measured from outside: events as they
// come over NATS, rows as the servers return them. Nothing of Healer is linked
// into the judgement; the agents are processes of their own. Whatever it starts
// ends with it, however it ends, and its directories are removed.
//
// It must never import the parts that heal: detector, planner, executor,
// rescue, keeper, postgres.
package demo
