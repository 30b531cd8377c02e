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

// Condition is what an observer found when it looked at a node: a stable code
// that travels between agents and into events.
type Condition string

// The conditions. The table below gives each its meaning.
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
	AgentGone          Condition = "agent_gone"
	Leaving            Condition = "leaving"
	Unclassified       Condition = "unclassified"
)

// Meaning is one row of the table of conditions.
type Meaning struct {
	Condition Condition
	Kind      Kind
	Severity  events.Severity
	// Finding marks a condition that an operator must hear of even though
	// the node lives.
	Finding bool
	// Text completes the sentence "the observer saw that ...".
	Text string
}

// Conditions returns the table of all conditions, in the order in which a
// verdict prefers to name them: the strongest evidence first.
func Conditions() []Meaning {
	return []Meaning{
		{PostmasterGone, Positive, events.Critical, false, "its open session ended and a new one was refused"},
		{Refused, Positive, events.Critical, false, "connections are refused"},
		{StartingUp, Silent, events.Warning, false, "the server is starting up, shutting down or in crash recovery (57P03)"},
		{EOF, Silent, events.Warning, false, "the session ended without a word"},
		{Hung, Silent, events.Critical, false, "the server takes connections but does not answer"},
		{HostSilent, Silent, events.Critical, false, "the host does not answer"},
		{Unreachable, Silent, events.Critical, false, "there is no way to the host"},
		{TooManyConnections, Refuting, events.Warning, true, "the server has no connection left for the probe (53300)"},
		{AuthRefused, Refuting, events.Warning, true, "the server does not let the probe log in (28xxx)"},
		{ServerError, Refuting, events.Warning, true, "the server answered the probe with an error"},
		{Answered, Refuting, events.Info, false, "the server answers"},
		{Leaving, Neutral, events.Info, false, "the node's own agent announced a planned leave"},
		{AgentGone, Neutral, events.Warning, true, "the node's healer agent is gone"},
		{Unclassified, Neutral, events.Warning, true, "the probe failed for a reason that says nothing about the server"},
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
