// Package reach opens what a command needs that acts on a cluster without being an
// agent of it: handles of all servers, the engine over them, and what the agents say
// that can be asked.
//
// It connects to nothing before it is asked to, and decides nothing. It must never be
// imported by what an agent is made of.
package reach
