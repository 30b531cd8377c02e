package detector

import "healer/events"

// Kind is what a condition means for the question whether a node lives.
type Kind string

// The kinds of evidence.
const (
	// Positive evidence shows that the server is gone: something answered in
	// its place, saying so.
	Positive Kind = "positive"
	// Silent evidence is the lack of an answer. It must last before it counts.
	Silent Kind = "silent"
	// Refuting evidence shows that the server lives: it answered, if only to
	// say no.
	Refuting Kind = "refuting"
	// Neutral evidence says nothing about the server.
	Neutral Kind = "neutral"
)

// Condition is what an observer found when it looked at a node, or what an agent
// concluded from all that the observers found: a stable code that travels
// between agents and into events.
type Condition string

// The conditions that one observer finds. The table below gives each its meaning.
const (
	Answered           Condition = "answered"
	PostmasterGone     Condition = "postmaster_gone"
	Refused            Condition = "refused"
	EOF                Condition = "eof"
	HostSilent         Condition = "host_silent"
	Unreachable        Condition = "unreachable"
	Hung               Condition = "hung"
	StartingUp         Condition = "starting_up"
	TooManyConnections Condition = "too_many_connections"
	AuthRefused        Condition = "auth_refused"
	ServerError        Condition = "server_error"
	Leaving            Condition = "leaving"
	Unclassified       Condition = "unclassified"
)

// The conditions that follow only from what several observers found, or from
// what this agent knows of itself and of the operator's will.
const (
	AgentGone   Condition = "agent_gone"
	Partitioned Condition = "partitioned"
	Minority    Condition = "minority"
	Resumed     Condition = "resumed"
	NoWitness   Condition = "no_witness"
	Maintained  Condition = "maintenance"
	Flapping    Condition = "flapping"
)

// Meaning is one row of the table of conditions.
type Meaning struct {
	Condition Condition
	// Kind is what the condition means as evidence. What is concluded and not
	// found is no evidence: its kind is Neutral.
	Kind     Kind
	Severity events.Severity
	// Finding marks a condition that an operator must hear of even though
	// the node lives.
	Finding bool
	// Text completes the sentence "the observer saw that ...".
	Text string
	// Leads says what follows from it.
	Leads string
}

// Conditions returns the table of all conditions, in the order in which a
// verdict prefers to name them: the strongest evidence first.
func Conditions() []Meaning {
	const (
		atOnce  = "failed, as soon as a majority of the configured members say so and nobody has an answer"
		lasting = "suspected after three quarters of detection.silent_after; failed when a majority of the configured members had no answer for all of it"
		lives   = "up: any answer refutes what others accuse it of; the status tells the operator"
	)
	return []Meaning{
		{PostmasterGone, Positive, events.Critical, false, "its open session ended and a new one was refused", atOnce},
		{Refused, Positive, events.Critical, false, "connections are refused", atOnce},
		{StartingUp, Silent, events.Warning, false, "the server is starting up, shutting down or in crash recovery (57P03)", lasting},
		{EOF, Silent, events.Warning, false, "the session ended without a word", "a new connection at once, which shows what it meant"},
		{Hung, Silent, events.Critical, false, "the server takes connections but does not answer", lasting},
		{HostSilent, Silent, events.Critical, false, "the host does not answer", lasting},
		{Unreachable, Silent, events.Critical, false, "there is no way to the host", lasting},
		{TooManyConnections, Refuting, events.Warning, true, "the server has no connection left for the probe (53300)", lives},
		{AuthRefused, Refuting, events.Warning, true, "the server does not let the probe log in (28xxx)", lives},
		{ServerError, Refuting, events.Warning, true, "the server answered the probe with an error", lives},
		{Answered, Refuting, events.Info, false, "the server answers", "up"},
		{Leaving, Neutral, events.Info, false, "the node's own agent announced a planned leave", "left, which is no failure; a server that outlives its agent by ten seconds is watched as ever, and an agent whose server has gone first announces nothing"},
		{AgentGone, Neutral, events.Warning, true, "the node's healer agent is gone", "the node stays up; after three seconds beside a healthy server it is unwatched (node.unwatched)"},
		{Partitioned, Neutral, events.Warning, true, "some members reach the server and others do not", "up: an answer that one member has refutes the accusations of the others"},
		{Minority, Neutral, events.Critical, true, "this agent hears too few members to judge", "suspected; this agent abstains until it hears a majority of the configured members"},
		{Resumed, Neutral, events.Warning, true, "this agent was paused, and listens before it judges", "suspected; this agent abstains until all it heard of before has expired"},
		{NoWitness, Neutral, events.Warning, true, "the cluster has two members and no witness", "advice only: plans are shown and not run, unless detection.quorum is half"},
		{Maintained, Neutral, events.Info, true, "an operator has suspended the verdicts about the node", "suspected at most, without an event, until the maintenance ends"},
		{Flapping, Neutral, events.Warning, true, "the node fails again and again", "failed until it has answered without a break for the hold-down, which doubles with each failure (node.flapping)"},
		{Unclassified, Neutral, events.Warning, true, "the probe failed for a reason that says nothing about the server", "nothing; the status tells the operator"},
	}
}

// table is Conditions by code, with each row's rank.
type table map[Condition]rankedMeaning

type rankedMeaning struct {
	Meaning
	rank int
}

func newTable() table {
	t := table{}
	for i, m := range Conditions() {
		t[m.Condition] = rankedMeaning{m, i}
	}
	return t
}

// kind is what e means. The table of this agent decides; a condition that only
// a newer agent knows keeps the kind its observer gave it.
func (t table) kind(e Evidence) Kind {
	if m, ok := t[e.Condition]; ok {
		return m.Kind
	}
	switch e.Kind {
	case Positive, Silent, Refuting:
		return e.Kind
	default:
		return Neutral
	}
}

// rank orders conditions by strength; unknown ones come last.
func (t table) rank(c Condition) int {
	if m, ok := t[c]; ok {
		return m.rank
	}
	return len(t)
}

// text is the meaning of c in words, or its code when it is not in the table.
func (t table) text(c Condition) string {
	if m, ok := t[c]; ok {
		return m.Text
	}
	return string(c)
}
