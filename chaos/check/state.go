package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/chaos/history"
	"healer/topology"
)

// progress: all survivors have applied the same of each origin.
func progress(f *facts) (found []string) {
	for _, from := range f.Nodes {
		at := map[string]topology.LSN{}
		different := map[topology.LSN]bool{}
		for _, s := range f.Servers {
			if lsn, ok := s.Progress[from]; ok && s.Node != from {
				at[s.Node] = lsn
				different[lsn] = true
			}
		}
		if len(different) > 1 && !f.excused(from) {
			var parts []string
			for _, n := range slices.Sorted(maps.Keys(at)) {
				parts = append(parts, fmt.Sprintf("%s is at %s", n, at[n]))
			}
			found = append(found, fmt.Sprintf("progress of %s: %s", from, strings.Join(parts, ", ")))
		}
	}
	return found
}

// leaks: nothing of a recovery is left but the fences of the nodes that are lost.
func leaks(f *facts) (found []string) {
	for _, s := range f.Servers {
		for _, k := range []struct {
			what string
			are  []string
			may  func(string) bool
		}{
			{"slot", s.Left.Slots, nil},
			{"fence mark of", s.Left.Fences, f.lost},
			{"mark", s.Left.Marks, f.bars},
			{"disabled subscription to", s.Left.Disabled, f.lost},
			{"lock", s.Left.Locks, nil},
			{"prepared transaction", s.Left.Prepared, nil},
		} {
			for _, name := range k.are {
				if k.may == nil || !k.may(name) {
					found = append(found, fmt.Sprintf("%s is left with the %s %s", s.Node, k.what, name))
				}
			}
		}
	}
	return found
}

// lost reports whether a node was lost at the end.
func (f *facts) lost(node string) bool { return slices.Contains(f.Lost, node) }

// bars reports whether a mark bars a lost node from coming back, or says what is to be
// compared with it then.
func (f *facts) bars(mark string) bool {
	return slices.ContainsFunc(f.Lost, func(n string) bool {
		about := strings.HasPrefix(mark, "healer:bar:") || strings.HasPrefix(mark, "healer:owed:")
		return about && strings.Contains(mark, ":"+n+":")
	})
}

// retention: a recovery slot never passes a transaction that its peer lacks. The log of
// a server has a transaction before the end that was read after it was seen there; so a
// slot that stands behind that end has passed it, and the peer must have had it by then.
func retention(f *facts) (found []string) {
	for _, on := range f.Nodes {
		for _, peer := range f.Nodes {
			if on != peer {
				found = append(found, f.passed(on, peer)...)
			}
		}
	}
	return found
}

// seen is when a server's log certainly had a client's transactions up to a sequence.
type seen struct {
	sequence int64
	by       topology.LSN
}

// passed looks for a transaction of a third node that the slot of on for peer has
// passed, and that peer had not a moment later.
func (f *facts) passed(on, peer string) (found []string) {
	logged := map[string][]seen{}
	behind := map[string]int64{}
	next := 0
	told := map[string]bool{}
	peers := f.samples[peer]
	for _, s := range f.samples[on] {
		for next < len(peers) && peers[next].Asked < s.At {
			next++
		}
		slot, ok := s.Slots[peer]
		for client, list := range logged {
			for len(list) > 0 && ok && list[0].by <= slot {
				behind[client] = list[0].sequence
				list = list[1:]
			}
			logged[client] = list
		}
		for client, sequence := range behind {
			if next == len(peers) || peers[next].Seen[client] >= sequence || told[client] {
				continue
			}
			told[client] = true
			found = append(found, fmt.Sprintf("at %s the slot on %s for %s stood at %s, behind transaction %s/%d, of which %s had %d at %s",
				s.At.Round(time.Millisecond), on, peer, slot, client, sequence, peer, peers[next].Seen[client], peers[next].At.Round(time.Millisecond)))
		}
		for client, sequence := range s.Seen {
			if from := origin(client); from != on && from != peer && !f.rewound(peer) {
				logged[client] = append(logged[client], seen{sequence, s.End})
			}
		}
	}
	slices.Sort(found)
	return found
}

// fenced: who applies an origin's transactions for it has fenced the server off.
func fenced(f *facts) (found []string) {
	told := map[history.Applier]bool{}
	for _, n := range f.Nodes {
		for _, s := range f.samples[n] {
			for _, a := range s.Appliers {
				if !slices.Contains(s.Fences, a.Origin) && !told[a] {
					told[a] = true
					found = append(found, fmt.Sprintf("at %s session %s recovers %s on %s, which is not fenced off from it",
						s.At.Round(time.Millisecond), a.Session, a.Origin, n))
				}
			}
		}
	}
	return found
}
