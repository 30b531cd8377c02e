// Package console is the page that an agent shows to people: one document, a style
// sheet and some modules, built in and made from nothing.
//
// It promises that the page asks nobody but the agent it came from, and that what it
// shows of the cluster is text and never markup: its security policy lets a browser do
// nothing else.
package console
