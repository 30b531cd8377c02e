package gossip

import "time"

// Status is what gossip knows of itself.
type Status struct {
	// Encrypted says whether there are keys, and Keys how many are accepted.
	Encrypted bool
	Keys      int
	// KeyProblem is why the latest change of the key file was not taken over;
	// empty when nothing is wrong with it.
	KeyProblem string
	// Refusals is what was turned away since the start, by reason.
	Refusals []Refusal
	// Conflict is the latest one about this agent's own name, ConflictAt when it
	// was last heard of; nil when there was none.
	Conflict   *Conflict
	ConflictAt time.Time
	// Refused is true when this agent is the one that lost its name: it hears
	// nobody and is not heard.
	Refused bool
}

// Status returns the present state.
func (g *Gossip) Status() Status {
	s := Status{Refusals: g.refused.all()}
	if g.keys != nil {
		s.Encrypted, s.Keys, s.KeyProblem = true, g.keys.count(), g.keys.state()
	}
	s.Conflict, s.ConflictAt = g.conflicts.kept()
	if lost := g.conflicts.refused(); lost != nil {
		s.Conflict, s.Refused = lost, true
	}
	return s
}
