// Package engines makes the engine of a cluster's file.
package engines

import (
	"healer/config"
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/postgres/pglogical"
	"healer/postgres/spock"
)

// New makes the engine that the file names; auto leaves it to each node's catalogs.
func New(name config.Engine, o engine.Options) *engine.Engine {
	all := []engine.Dialect{native.Dialect{}, pglogical.Dialect{}, spock.Dialect{}}
	for _, d := range all {
		if d.Name() == string(name) {
			all = []engine.Dialect{d}
			break
		}
	}
	o.Dialects = all
	return engine.New(o)
}
