package api

import (
	"maps"
	"slices"
	"strings"
)

// MixedVersions says which agents run which version, when those that live run several, as
// during an upgrade; else it is empty.
func (s Status) MixedVersions() string {
	runs := map[string]string{}
	for _, n := range s.Nodes {
		if n.AgentAlive {
			runs[n.Name] = n.AgentVersion
		}
	}
	for _, w := range s.Witnesses {
		if w.AgentAlive {
			runs[w.Name] = w.AgentVersion
		}
	}
	return MixedVersions(runs)
}

// MixedVersions says it of agents by their names.
func MixedVersions(runs map[string]string) string {
	by := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		version := runs[name]
		if version == "" {
			version = "one that does not tell its version"
		}
		by[version] = append(by[version], name)
	}
	if len(by) < 2 {
		return ""
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, strings.Join(by[version], ", ")+" "+version)
	}
	return "the agents run several versions: " + strings.Join(parts, "; ")
}
