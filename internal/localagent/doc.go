// Package localagent runs agents as processes of this machine, beside the servers
// of package localpg: their ports, their file, their start and their death.
//
// It promises that an agent dies with its caller, however that ends. It must
// never know what an agent does.
package localagent
