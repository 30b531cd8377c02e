// Package engine answers what planner, executor and keeper ask of a mesh, whatever
// its engine of replication: it reads what a node is and has, and fences, marks,
// keeps slots and waits. What an engine does in its own way is its Dialect;
// postgres/native and postgres/pglogical have one each.
//
// It promises that
//
//   - Observe never fails: what could not be read is a state, and nothing is
//     filled in for it. A grant that is missing makes a finding with the SQL
//     that mends it, and is blocking where a zero would else pass for a fact;
//   - which node a subscription reads from is never guessed: it was answered
//     by the server at the other end, or follows from the configuration;
//   - what it does can be repeated: each call first looks whether it is so
//     already, and a transaction makes a mark and what it marks one;
//   - it alters only subscriptions it marked and slots of its own names.
//
// It must never import rescue, keeper, planner or executor: they own the
// interfaces that it satisfies.
package engine
