// Package words says in few words what events tell: the demo and the command that
// shows events speak alike.
//
// It is pure, and decides nothing.
package words
