package discover

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hints are what a node's name may be told from.
type hints struct {
	// cluster is the setting cluster_name.
	cluster string
	// node is what the engine itself calls it.
	node string
	// applications are the application_names under which it reads from others.
	applications []string
	// readers are the subscriptions and slots by which others read from it, own those
	// by which it reads from others.
	readers, own []string
	host         string
}

// nameAll gives every node a name: by the first way that gives all of them one of
// their own. It is the same for the same mesh, whichever node was asked first, as
// long as the nodes come in the same order.
func nameAll(nodes []hints) (names []string, how string) {
	for _, way := range []struct {
		how  string
		name func([]hints) []string
	}{
		{"the names of the engine's nodes", each(func(h hints) string { return h.node })},
		{"the setting cluster_name", each(func(h hints) string { return h.cluster })},
		{"application_name of the subscriptions", each(func(h hints) string { return only(h.applications) })},
		{"the names of subscriptions and slots", words(func(h hints) []string { return h.readers })},
		{"the names of subscriptions and slots", words(func(h hints) []string { return append(slices.Clone(h.readers), h.own...) })},
		{"the names of subscriptions and slots", words(func(h hints) []string { return h.own })},
		{"the names of the hosts", each(func(h hints) string { return label(h.host) })},
	} {
		if names := way.name(nodes); usable(names) {
			return names, way.how
		}
	}
	for i := range nodes {
		names = append(names, "n"+strconv.Itoa(i+1))
	}
	return names, "their order, by host and port"
}

func each(name func(hints) string) func([]hints) []string {
	return func(nodes []hints) (names []string) {
		for _, n := range nodes {
			names = append(names, strings.ToLower(name(n)))
		}
		return names
	}
}

// usable reports whether these are names of a cluster's file, each unlike the others
// also where only [a-z0-9_] is known, as in names of slots.
func usable(names []string) bool {
	form := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	seen := map[string]bool{}
	for _, n := range names {
		slot := strings.ReplaceAll(n, "-", "_")
		if !form.MatchString(n) || seen[slot] {
			return false
		}
		seen[slot] = true
	}
	return true
}

// only is what all are; "" where they differ.
func only(all []string) string {
	if len(all) == 0 || slices.ContainsFunc(all, func(s string) bool { return s != all[0] }) {
		return ""
	}
	return all[0]
}

// label is the first label of a host's name; "" for an address.
func label(host string) string {
	if local(host) || strings.ContainsAny(host, ":,") || !strings.ContainsAny(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return ""
	}
	first, _, _ := strings.Cut(host, ".")
	return first
}

// words names each node by the one word that all of its own texts have, and those of
// no other node have in common.
func words(texts func(hints) []string) func([]hints) []string {
	return func(nodes []hints) []string {
		common := make([][]string, len(nodes))
		count := map[string]int{}
		for i, n := range nodes {
			common[i] = shared(texts(n))
			for _, w := range common[i] {
				count[w]++
			}
		}
		names := make([]string, len(nodes))
		for i := range nodes {
			own := slices.DeleteFunc(common[i], func(w string) bool { return count[w] > 1 })
			if len(own) == 1 {
				names[i] = own[0]
			}
		}
		return names
	}
}

// shared are the words that every text has, each once.
func shared(texts []string) (out []string) {
	for i, t := range texts {
		has := strings.FieldsFunc(strings.ToLower(t), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9')
		})
		if i == 0 {
			out = has
			continue
		}
		out = slices.DeleteFunc(out, func(w string) bool { return !slices.Contains(has, w) })
	}
	slices.Sort(out)
	return slices.Compact(out)
}
