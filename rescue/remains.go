package rescue

import "slices"

// meeting is a row on a survivor and the write that meets it there.
type meeting struct {
	node, provider string
	others         []string
	// comes is the write of the provider's that creates the row.
	comes stamp
	// has is the survivor's version, theirs the provider's now. had is set when the
	// provider has had has; contested when the lost node has written the row later.
	has, theirs    version
	had, contested bool
}

// remains reports whether the row that a survivor has may go for the one that comes,
// and as what: a deletion that never wins against what stands.
func (r Resolution) remains(m meeting, lost string) (as stamp, yes bool) {
	has := m.has
	if !has.known() || m.contested {
		return stamp{}, false
	}
	first := version{present: true, digest: "comes", stamp: m.comes}
	names := []string{m.node, m.provider}
	if m.comes.after(has.stamp) {
		// The provider has had it, and still could write the row anew: it had deleted it.
		if !m.had {
			return stamp{}, false
		}
		return r.inTheWay(situation{
			names: names, versions: []version{has, first}, seen: make([]stamp, len(names)),
			touch: &touch{holders: []string{m.provider}},
		}, m.node, lost)
	}
	// What comes shows that the provider had no row then. So its own version, which some
	// comparison has given ahead, it wrote behind that, and it comes again.
	if has.stamp.author == m.provider && has.stamp != m.comes {
		return m.comes, true
	}
	// It was made on top of what comes. The provider must have it, or a later one, and
	// a survivor have written it: of the lost node's it would be taken to be deleted.
	// Where nothing is repaired, nothing would be put back.
	stands := m.theirs
	switch {
	case has.stamp == m.comes:
		stands = first
	case r == Stop:
		return stamp{}, false
	}
	again := stands.present && (stands.stamp == has.stamp || stands.stamp.after(has.stamp) && m.had)
	if !again || !slices.Contains(append(names, m.others...), has.stamp.author) || stands.stamp.author == lost {
		return stamp{}, false
	}
	for _, tomb := range []*stamp{nil, &m.comes} {
		d := r.decide(situation{
			names: names, versions: []version{{}, stands}, seen: make([]stamp, len(names)),
			touch: &touch{holders: []string{m.provider}, tomb: tomb},
		})
		if d.winner < 0 {
			return stamp{}, false
		}
	}
	return m.comes, true
}

// outlived reports whether the row that a survivor has for a unique value may make way
// for another row that gets the value by what comes from the provider, and how: it is
// deleted as the provider has deleted it, or is replaced by the version that has won. The
// provider has had the survivor's version, which the caller knows.
//
// It does not matter that the two rows meet: had the survivor received what the provider
// has done to this one, it would not have it. Nothing is lost, and nothing is for a
// comparison alone to put back: the row is gone for all, or the survivor gets a later
// version of it. Where the provider has that very version still, the survivor is ahead,
// and it stays; so it does where the lost node has written it later, which the gap brings.
func (r Resolution) outlived(s situation, node, provider, lost string) (d verdict, yes bool) {
	at, from := slices.Index(s.names, node), slices.Index(s.names, provider)
	if at < 0 || from < 0 || !s.versions[at].known() {
		return verdict{}, false
	}
	has, theirs := s.versions[at].stamp, s.versions[from]
	if theirs.present && !theirs.stamp.after(has) {
		return verdict{}, false
	}
	s.seen = slices.Clone(s.seen)
	s.seen[from] = has
	d = r.decide(s)
	if d.winner >= 0 {
		return d, r != Stop && d.by.author != "" && d.by.author != lost && d.by.after(has)
	}
	// It was deleted after it was written: no log may show that it was not.
	d.by = stamp{at: has.at + 1, author: provider}
	return d, r.standsWithout(s, at, d, d.by)
}
