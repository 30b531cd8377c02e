package api

import (
	"fmt"
	"time"
)

// Gossip is how the agent talks to the others. Nothing of it stops healing; what
// is wrong with it leaves agents alone.
type Gossip struct {
	// Encrypted says whether there are keys, Keys how many are accepted.
	Encrypted bool `json:"encrypted"`
	Keys      int  `json:"keys"`
	// KeyProblem is why the latest change of the key file was not taken over.
	KeyProblem string `json:"key_problem,omitempty"`
	// Refused is what was turned away since the agent's start, by reason.
	Refused []GossipRefusal `json:"refused,omitempty"`
	// SecondAgent is another agent that uses this one's name, while it does.
	SecondAgent *SecondAgent `json:"second_agent,omitempty"`
}

// GossipRefusal is what was turned away for one reason.
type GossipRefusal struct {
	// Reason is other_cluster, wrong_key, not_encrypted, encrypted,
	// not_a_member, name_in_use or malformed.
	Reason string `json:"reason"`
	// Count is how many packets and connections it were, Last when the last of
	// them came, From its host and Detail what it said of itself.
	Count  uint64    `json:"count"`
	Last   time.Time `json:"last"`
	From   string    `json:"from,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// SecondAgent is an agent that was refused because its name is in use.
type SecondAgent struct {
	// Addr is where it gossips, Since when it started by its own clock, Seen
	// when it was last heard of.
	Addr  string    `json:"addr"`
	Since time.Time `json:"since"`
	Seen  time.Time `json:"seen"`
}

func assessGossip(s Status) (critical, degraded []string) {
	if p := s.Gossip.KeyProblem; p != "" {
		degraded = append(degraded, "gossip: the keys in use are not those of the file: "+p)
	}
	if second := s.Gossip.SecondAgent; second != nil {
		degraded = append(degraded, fmt.Sprintf("%s: a second agent of this name runs at %s and is refused: stop it", s.Agent, second.Addr))
	}
	return nil, degraded
}

func collectGossip(s Status, set func(string, float64, ...string)) {
	set("gossip_encrypted", one(s.Gossip.Encrypted))
	set("gossip_key_problem", one(s.Gossip.KeyProblem != ""))
	set("gossip_second_agent", one(s.Gossip.SecondAgent != nil))
}
