// Package uninstall is the command `healer uninstall`: it takes back from the servers
// what Healer has made there, and nothing else.
//
// It connects to the servers by the DSNs of the file and reads the catalogs, so it may
// be killed anywhere and run again. What cannot be taken back safely is refused, by
// name, before anything is done.
package uninstall
