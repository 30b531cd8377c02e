// Package hooks runs what operators want to be run when something happens: a
// program, or a request to a web hook.
//
// Of the agents one runs each hook of an event: see natsbus.Client.Share. Whoever
// is called may be called again for the same event, and knows it by its id.
// Nothing waits for a hook, and what fails changes nothing but its own figures.
package hooks
