package control

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// resolution is that of At: two agents must not disagree about digits which one
// of them has not kept.
const resolution = time.Microsecond

// Store holds the entries of one agent. It is safe for concurrent use.
type Store struct {
	save func([]Entry) error
	wake chan struct{}

	// saving is held across a save, so that a later one never overtakes it. It is
	// taken before mu, which is held for memory work only.
	saving sync.Mutex
	mu     sync.Mutex
	held   map[key]Entry
	news   []Entry
	dirty  bool
}

// NewStore makes a Store of what was saved before. save keeps all entries as a
// whole; it is not called by two goroutines at a time.
func NewStore(saved []Entry, save func([]Entry) error) *Store {
	s := &Store{save: save, wake: make(chan struct{}, 1), held: map[key]Entry{}}
	for _, e := range saved {
		s.take(e)
	}
	s.news = nil
	return s
}

// Set takes what an operator says at now and returns it as it was dated. It is
// saved when Set returns without an error, and not taken at all otherwise.
func (s *Store) Set(e Entry, now time.Time) (Entry, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	e.At = now.Truncate(resolution).UTC()
	if old, ok := s.held[e.key()]; ok && !e.At.After(old.At) {
		e.At = old.At.Add(resolution)
	}
	e.Until = e.Until.Truncate(resolution)
	all := maps.Clone(s.held)
	s.mu.Unlock()
	if err := e.validate(); err != nil {
		return Entry{}, err
	}
	all[e.key()] = e
	if err := s.save(sorted(all)); err != nil {
		return Entry{}, err
	}
	s.mu.Lock()
	s.take(e)
	s.mu.Unlock()
	s.poke()
	return e, nil
}

// Merge takes what another agent holds at now, and reports whether anything of
// it was new. It never waits for the disk: see Save.
func (s *Store) Merge(entries []Entry, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for _, e := range entries {
		if e.validate() == nil && !e.forgettable(now) && s.take(e) {
			changed, s.dirty = true, true
		}
	}
	if changed {
		s.poke()
	}
	return changed
}

// take files e unless a later entry about the same is known.
func (s *Store) take(e Entry) bool {
	if old, ok := s.held[e.key()]; ok && e.compare(old) <= 0 {
		return false
	}
	s.held[e.key()] = e
	s.news = append(s.news, e)
	return true
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Wake gives a token when Changes has something new.
func (s *Store) Wake() <-chan struct{} { return s.wake }

// Changes returns the entries that were taken since the last call, in the order
// in which they were; those that were known when the Store was made are not
// among them.
func (s *Store) Changes() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.news
	s.news = nil
	return out
}

// Save saves what was merged since the last save, and forgets what ended long
// before now. After an error the next call tries again.
func (s *Store) Save(now time.Time) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	for k, e := range s.held {
		if e.forgettable(now) {
			delete(s.held, k)
			s.dirty = true
		}
	}
	dirty, all := s.dirty, sorted(s.held)
	s.dirty = false
	s.mu.Unlock()
	if !dirty {
		return nil
	}
	err := s.save(all)
	if err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
	return err
}

// Get returns the entry of a kind about a subject that holds at now.
func (s *Store) Get(kind Kind, subject string, now time.Time) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.held[key{kind, subject}]
	return e, ok && e.Active(now)
}

// Active returns the entries that hold at now, sorted by kind and subject.
func (s *Store) Active(now time.Time) []Entry {
	return slices.DeleteFunc(s.Entries(), func(e Entry) bool { return !e.Active(now) })
}

// Entries returns all entries, the ended ones included, for an exchange with
// another agent; sorted by kind and subject.
func (s *Store) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.held)
}

func sorted(held map[key]Entry) []Entry {
	return slices.SortedFunc(maps.Values(held), func(a, b Entry) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Subject, b.Subject))
	})
}
