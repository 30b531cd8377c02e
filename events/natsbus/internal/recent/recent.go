// Package recent is a set of strings that is bounded by forgetting the oldest.
package recent

// Set remembers the ids that were added last. It is not safe for concurrent use.
type Set struct {
	ids  map[string]bool
	ring []string
	at   int
}

// New makes a Set of at most n ids; n must be positive.
func New(n int) *Set { return &Set{ids: make(map[string]bool), ring: make([]string, 0, n)} }

// Has reports whether id is remembered.
func (s *Set) Has(id string) bool { return s.ids[id] }

// Add remembers id and reports whether it was new. When the set is full, the id
// that was added first is forgotten.
func (s *Set) Add(id string) bool {
	if s.ids[id] {
		return false
	}
	s.ids[id] = true
	if len(s.ring) < cap(s.ring) {
		s.ring = append(s.ring, id)
		return true
	}
	delete(s.ids, s.ring[s.at])
	s.ring[s.at] = id
	s.at = (s.at + 1) % len(s.ring)
	return true
}
