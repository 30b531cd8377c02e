package compare

import (
	"maps"
	"slices"
)

// Method is how the rows of a table are put into blocks.
type Method string

// The methods; the package's documentation has them.
const (
	Ranges   Method = "ranges"
	Buckets  Method = "buckets"
	Multiset Method = "multiset"
)

// sharedKey names the columns of a key that every node has, the first node's
// primary key if possible; nil when there is none.
func sharedKey(defs []*definition) []string {
	for _, k := range defs[0].Keys {
		names := make([]string, len(k.Columns))
		for i, c := range k.Columns {
			names[i] = c.Name
		}
		if !slices.ContainsFunc(defs, func(d *definition) bool { return d.on(names) == nil }) {
			return names
		}
	}
	return nil
}

// choose picks the method for a table, and says why when it is not the usual one.
func choose(defs []*definition, key []string) (Method, string) {
	if key == nil {
		return Multiset, "no key that all nodes share: compared as a multiset of rows, which cannot be repaired"
	}
	first := defs[0].on(key)
	for _, d := range defs {
		for i, c := range d.on(key) {
			if len(key) > 1 && !c.Builtin {
				return Buckets, "key column " + c.Name + " has operators of its own"
			}
			if c.Order != first[i].Order || c.Type != first[i].Type {
				return Buckets, "key column " + c.Name + " does not sort alike on all nodes"
			}
		}
	}
	return Ranges, ""
}

// sharedColumns lists, sorted, the columns that every node stores and that are
// wanted (nil: all), and those that some node stores and not every one.
func sharedColumns(defs []*definition, wanted []string) (shared, odd []string) {
	stored := map[string]int{}
	for _, d := range defs {
		for _, c := range d.Columns {
			if !c.Generated && (wanted == nil || slices.Contains(wanted, c.Name)) {
				stored[c.Name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		if stored[name] == len(defs) {
			shared = append(shared, name)
		} else {
			odd = append(odd, name)
		}
	}
	return shared, odd
}
