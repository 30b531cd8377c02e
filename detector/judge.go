package detector

import (
	"maps"
	"slices"
	"time"

	"healer/topology"
)

// Judge turns evidence and time into verdicts. It is pure: the same calls give
// the same verdicts, and the order or repetition of evidence changes nothing.
// It is not safe for concurrent use.
type Judge struct {
	self string
	// members are the nodes, voters all who look: the nodes and the witnesses.
	members, voters []string
	rules           Rules
	table           table
	started         time.Time
	seq             uint64
	// last is the latest time this agent was given, listenUntil the end of its
	// abstention after a pause.
	last, listenUntil time.Time
	// suspended are the nodes under maintenance.
	suspended map[string]Suspension
	nodes     map[string]*node
	// heard is when each member last spoke to this agent.
	heard map[string]time.Time
	// agents are the living agents as gossip sees them; nil until it has said
	// so for the first time. met are those that lived at any time.
	agents, met map[string]bool
	// gone is when each member's agent was last shown to be gone.
	gone map[string]time.Time
	// news: something came that may change a verdict before time alone does.
	news bool
}

// node is what the Judge holds about one subject.
type node struct {
	name string
	// records has the newest evidence of each observer, this agent included.
	records map[string]record
	prior   topology.Identity
	seen    bool

	// Own observation: the last identity read and when, since when there was
	// no live answer, and when the last probe ended.
	ownIdentity topology.Identity
	read        time.Time
	since       time.Time
	gone        time.Time // since when the evidence was positive
	reported    time.Time

	episode uint64
	// open: the node failed in this episode and was not admitted since; lost
	// is the identity that failed, openedAt when this agent concluded or
	// learned it.
	open     bool
	lost     topology.Identity
	openedAt time.Time
	// left: its agent announced a leave when the episode was leftIn.
	left   bool
	leftIn uint64
	// outlived is the Seq of the announced leave that the server has outlived.
	outlived uint64

	// failures are those within the flap window, steady is since when the node
	// answers and nobody accuses it, and rose that it has answered since its
	// last failure.
	failures []time.Time
	steady   time.Time
	rose     bool

	// missing is since when its agent is gone, unwatched that this has lasted.
	missing   time.Time
	unwatched bool

	urgent  bool
	verdict Verdict
	// alarm: a member began to accuse it since Alarms was last asked.
	alarm bool
	// doubts are the members whose word alone keeps it from having failed.
	doubts []Doubt
}

// NewJudge makes the judge of self, a member or a witness, which began to watch
// the members at now.
func NewJudge(self string, members []string, rules Rules, prior map[string]Prior, now time.Time) *Judge {
	j := &Judge{
		self: self, members: slices.Sorted(slices.Values(members)), rules: rules.withDefaults(),
		table: newTable(), started: now, last: now,
		// The first number comes from the clock so that a restarted agent
		// outdoes its earlier self; Merge mends it when the clock went back.
		seq:   uint64(max(now.UnixMicro(), 1)),
		nodes: map[string]*node{}, heard: map[string]time.Time{}, met: map[string]bool{}, gone: map[string]time.Time{},
	}
	j.voters = slices.Sorted(slices.Values(slices.Concat(j.members, rules.Witnesses)))
	for _, m := range j.members {
		p := prior[m]
		n := &node{
			name: m, records: map[string]record{}, prior: p.Identity, episode: p.Episode,
			failures: slices.Clone(p.Failures),
		}
		// That it failed is known, and not whether it still is down: that is judged anew.
		if p.Failed {
			n.open, n.lost, n.openedAt = true, p.Identity, now
		}
		n.verdict = Verdict{
			Node: m, Life: LifeUnknown, Reason: "no evidence yet", At: now,
			Episode: p.Episode, Identity: p.Identity, Open: p.Failed, Incarnation: Incarnation(p.Identity, p.Episode),
		}
		j.nodes[m] = n
	}
	return j
}

// Report takes the outcome of this agent's own probe of subject.
func (j *Judge) Report(subject string, f Finding, now time.Time) {
	j.advance(now)
	n, ok := j.nodes[subject]
	if !ok {
		return
	}
	if f.Identity.Known() {
		n.ownIdentity, n.read = f.Identity, now
	}
	e := Evidence{
		Observer: j.self, Subject: subject, Condition: f.Condition,
		Detail: truncate(f.Detail, MaxDetail), Identity: n.ownIdentity,
	}
	if e.Identity.Known() {
		e.IdentityAge = now.Sub(n.read)
	}
	e.Kind = j.table.kind(e)
	n.clock(e.Kind, now, j.rules.EvidenceTTL)
	if e.Kind == Silent && f.Silent > 0 {
		n.since = now.Add(-f.Silent)
	}
	if !n.since.IsZero() {
		e.Lasted = now.Sub(n.since)
	}
	if !n.gone.IsZero() {
		e.Held = now.Sub(n.gone)
	}
	old, had := n.records[j.self]
	ripe := e.Kind == Silent && old.Lasted < j.rules.SilentAfter && e.Lasted >= j.rules.SilentAfter
	n.urgent = n.urgent || !had || old.Condition != e.Condition || old.Identity != e.Identity || ripe || f.Asked
	j.news = j.news || n.urgent || e.accuses()
	j.sign(n, e, now)
}

// clock keeps the time since which the subject has given no live answer. A gap
// in the probes, as after a pause of this process, starts it anew: nobody knows
// what the subject did meanwhile.
func (n *node) clock(k Kind, now time.Time, ttl time.Duration) {
	switch {
	case k == Refuting || k == Neutral:
		n.since = time.Time{}
	case n.since.IsZero() || now.Sub(n.reported) > ttl:
		n.since = now
	}
	switch {
	case k != Positive:
		n.gone = time.Time{}
	case n.gone.IsZero() || now.Sub(n.reported) > ttl:
		n.gone = now
	}
	n.reported = now
}

// sign numbers e, adds what this agent holds about the subject, and files it.
func (j *Judge) sign(n *node, e Evidence, at time.Time) {
	j.seq++
	e.Seq, e.Episode, e.Failed = j.seq, n.episode, nil
	if n.open {
		lost := n.lost
		e.Failed = &lost
	}
	e.AgentSince, e.HoldDown = 0, j.ownHoldDown(n)
	if n.name == j.self {
		e.AgentSince = j.started.UnixMicro()
	}
	n.records[j.self] = record{e, at}
	n.note(e.Kind, e.Identity)
}

// restamp renews this agent's evidence about n after its own conclusion has
// changed, without making the evidence itself any fresher.
func (j *Judge) restamp(n *node) {
	if r, ok := n.records[j.self]; ok {
		j.sign(n, r.Evidence, r.at)
		n.urgent = true
	}
}

// note remembers that somebody has seen the node alive.
func (n *node) note(k Kind, id topology.Identity) {
	n.seen = n.seen || k == Refuting || id.Known()
}

// Merge takes evidence that reached this agent at now. It reports whether the
// piece was new: older and repeated pieces change nothing, and neither do pieces
// by or about somebody who is not a configured member.
func (j *Judge) Merge(e Evidence, now time.Time) bool {
	j.advance(now)
	n, ok := j.nodes[e.Subject]
	if !ok || !slices.Contains(j.voters, e.Observer) {
		return false
	}
	if e.Observer == j.self {
		// An earlier life of this agent counted further: go on from there, or
		// the others would take what it says now for old.
		j.seq = max(j.seq, e.Seq)
		return false
	}
	e.Kind = j.table.kind(e)
	e.Detail = truncate(e.Detail, MaxDetail)
	at := now.Add(-max(e.Age, 0))
	e.Age = 0
	n.note(e.Kind, e.Identity)
	old, had := n.records[e.Observer]
	switch {
	case had && old.Seq > e.Seq:
		return false
	case had && old.Seq == e.Seq:
		// What takes the longer way seems younger than it is.
		if at.Before(old.at) {
			old.at = at
			n.records[e.Observer] = old
		}
		return false
	}
	n.records[e.Observer] = record{e, at}
	n.alarm = n.alarm || e.accuses() && !old.accuses()
	j.news = j.news || !had || e.accuses() || n.open || n.left || !e.repeats(old.Evidence)
	return true
}

// News reports whether something came since the last call that may change a verdict.
// Answers that only repeat themselves do not: they can wait for the next refresh.
func (j *Judge) News() bool {
	news := j.news
	j.news = false
	return news
}

// Alarms returns the nodes that another member has begun to accuse since the
// last call: whoever has an answer should look again and say so.
func (j *Judge) Alarms() []string {
	var out []string
	for _, m := range j.members {
		if n := j.nodes[m]; n.alarm {
			out, n.alarm = append(out, m), false
		}
	}
	return out
}

// Doubts returns the members whose answers alone keep this agent from judging a
// node failed that enough others accuse. It is worth asking them again, and worth
// knowing if their agents are gone. A member may be named twice.
func (j *Judge) Doubts() []Doubt {
	var out []Doubt
	for _, m := range j.members {
		out = append(out, j.nodes[m].doubts...)
	}
	return out
}

// AgentGone notes that at the given time the member's agent was shown to be gone:
// what it had found before, it cannot repeat.
func (j *Judge) AgentGone(member string, at time.Time) {
	if slices.Contains(j.voters, member) && at.After(j.gone[member]) {
		j.gone[member] = at
	}
}

// Heard notes that a member or a witness itself spoke to this agent.
func (j *Judge) Heard(member string, at time.Time) {
	j.advance(at)
	if slices.Contains(j.voters, member) && at.After(j.heard[member]) {
		j.heard[member] = at
	}
}

// Agents notes which agents live, as gossip sees them.
func (j *Judge) Agents(alive []string) {
	j.agents = make(map[string]bool, len(alive))
	for _, a := range alive {
		j.agents[a], j.met[a] = true, true
	}
}

// Suspension is why and until when no failure of a node is concluded.
type Suspension struct {
	Until time.Time
	// Text is for a person: who has suspended it, and why.
	Text string
}

// Suspend says of which nodes no failure is to be concluded, in place of what was
// said before. A node that has failed already stays failed.
func (j *Judge) Suspend(nodes map[string]Suspension) { j.suspended = nodes }

// Admit takes a returning node back: it is up, in a new episode. The caller
// vouches that no fence of it remains. It returns false, and changes nothing,
// when the node is not returning, or is held down.
func (j *Judge) Admit(name string) bool {
	n, ok := j.nodes[name]
	if !ok || !n.open || n.verdict.Life != LifeReturning || n.verdict.Held {
		return false
	}
	n.begin(n.episode + 1)
	j.restamp(n)
	return true
}

// begin opens an episode in which the node has not failed.
func (n *node) begin(episode uint64) {
	n.episode, n.open, n.lost = episode, false, topology.Identity{}
}

// Farewell is the evidence that announces this agent's planned leave; none of a
// witness, beside which there is no server that could end with it, and none when the
// server has gone before the agent, unless it ends in order: who saw nothing of a plan
// cannot vouch for it, and what the server has not sent must be looked for.
func (j *Judge) Farewell(now time.Time) []Evidence {
	n, ok := j.nodes[j.self]
	if !ok {
		return nil
	}
	if own := n.records[j.self]; own.accuses() && own.Condition != StartingUp {
		return nil
	}
	e := Evidence{
		Observer: j.self, Subject: j.self, Condition: Leaving, Kind: Neutral, Identity: n.ownIdentity,
	}
	if e.Identity.Known() {
		e.IdentityAge = now.Sub(n.read)
	}
	j.sign(n, e, now)
	return []Evidence{n.records[j.self].Evidence}
}

// Urgent returns this agent's evidence that says something new, once.
func (j *Judge) Urgent(now time.Time) []Evidence {
	var out []Evidence
	for _, m := range j.members {
		n := j.nodes[m]
		if r, ok := n.records[j.self]; ok && n.urgent {
			out = append(out, r.sent(now))
		}
		n.urgent = false
	}
	return out
}

// Own returns this agent's fresh evidence about every node.
func (j *Judge) Own(now time.Time) []Evidence {
	var out []Evidence
	for _, m := range j.members {
		if r, ok := j.nodes[m].records[j.self]; ok && r.fresh(now, j.rules.EvidenceTTL) {
			out = append(out, r.sent(now))
		}
	}
	return out
}

// State returns what a member that knows nothing should be told: all fresh
// evidence, announced leaves, and failures that are still open.
func (j *Judge) State(now time.Time) []Evidence {
	var out []Evidence
	for _, m := range j.members {
		n := j.nodes[m]
		for _, o := range slices.Sorted(maps.Keys(n.records)) {
			r := n.records[o]
			if r.fresh(now, j.rules.EvidenceTTL) || r.Condition == Leaving || r.Failed != nil {
				out = append(out, r.sent(now))
			}
		}
	}
	return out
}

// sent is the evidence with its age at now.
func (r record) sent(now time.Time) Evidence {
	e := r.Evidence
	e.Age = max(now.Sub(r.at), 0)
	return e
}

// Verdicts returns the present verdict of every node, sorted by name, as the
// last Evaluate left them.
func (j *Judge) Verdicts() []Verdict {
	out := make([]Verdict, 0, len(j.members))
	for _, m := range j.members {
		v := j.nodes[m].verdict
		v.Evidence, v.Findings = slices.Clone(v.Evidence), slices.Clone(v.Findings)
		v.Failures = slices.Clone(v.Failures)
		out = append(out, v)
	}
	return out
}
