package config

import (
	"slices"
	"strings"
	"time"
)

// Engine is the replication engine that makes the nodes a mesh.
type Engine string

// The engines of this release.
const (
	// EngineAuto is whatever the nodes run, as their catalogs tell.
	EngineAuto Engine = "auto"
	// EngineNative is PostgreSQL's own logical replication with
	// origin = none, 16 and later.
	EngineNative Engine = "native"
	// EnginePglogical is the extension pglogical 2.4, on PostgreSQL 15 and later.
	EnginePglogical Engine = "pglogical"
	// EngineSpock is pgEdge's extension Spock, 5 and 6.
	EngineSpock Engine = "spock"
)

// Mode says how much an agent may do by itself.
type Mode string

// The modes, from the least to the most active.
const (
	// ModeObserve detects, reports and shows its plans; it carries none out.
	ModeObserve Mode = "observe"
	// ModeAdvise carries out the plans that an operator has approved.
	ModeAdvise Mode = "advise"
	// ModeAuto carries its plans out by itself.
	ModeAuto Mode = "auto"
)

// Quorum is the number of members whose evidence makes a node lost.
type Quorum string

// The quorums. What destroys something always needs the majority.
const (
	// QuorumMajority needs more than half of the configured members.
	QuorumMajority Quorum = "majority"
	// QuorumHalf is content with half of them when the evidence is positive:
	// connections refused, not merely unanswered.
	QuorumHalf Quorum = "half"
)

// Conflicts is what becomes of two writes of one row that did not know of each
// other: one of a lost node, and one of a survivor.
type Conflicts string

// The policies; docs/conflicts.md says what each means for every kind of conflict.
const (
	// LastUpdateWins keeps the write with the later commit timestamp, and on a
	// tie that of the node with the greater name.
	LastUpdateWins Conflicts = "last_update_wins"
	// ApplyRemote prefers the lost node's writes.
	ApplyRemote Conflicts = "apply_remote"
	// KeepLocal prefers the survivors' writes.
	KeepLocal Conflicts = "keep_local"
	// StopAtConflict resolves nothing: the recovery fails and names the rows.
	StopAtConflict Conflicts = "stop"
)

// Fallback is what becomes of a gap whose transactions no log has any more.
type Fallback string

// The fallbacks.
const (
	// RefuseGap refuses the recovery and names what an operator can do.
	RefuseGap Fallback = "refuse"
	// CarryRows makes the laggard's rows those of the source.
	CarryRows Fallback = "rows"
)

// Config is a cluster's file as it was read, with every default filled in.
type Config struct {
	// Cluster names the cluster in events, subjects and gossip.
	Cluster string
	// Engine is how the nodes replicate; default auto.
	Engine Engine
	// Mode is what the agents may do by themselves; default auto.
	Mode Mode
	// Nodes are the members in the order of the file: two at least.
	Nodes []Node
	// Witnesses look and vote like the agents of nodes, and own no server.
	Witnesses []Witness

	API       API
	NATS      NATS
	Gossip    GossipAccess
	Detection Detection
	Recovery  Recovery
	Keeper    Keeper
	Slots     Slots
	// Hooks are run by one of the agents when something happens.
	Hooks []Hook
}

// Node is one PostgreSQL server of the mesh, with its agent.
type Node struct {
	// Name is the node's name: [a-z0-9_-], at most 32 bytes.
	Name string
	// DSN connects to the node's database, as a URL or as key=value words.
	DSN string
	// Gossip is the host:port, UDP and TCP, of the agent's membership.
	Gossip string
	// API is the host:port of the agent's HTTP server.
	API string
	// NATS is empty when NATS.URL names an external one.
	NATS NodeNATS
}

// Witness is an agent without a server, which counts as a member.
type Witness struct {
	// Name is unlike that of any node; Gossip and API are as a node's.
	Name   string
	Gossip string
	API    string
	// NATS is empty when no server of the embedded NATS runs beside it.
	NATS NodeNATS
}

// NodeNATS is where a node's embedded NATS server listens.
type NodeNATS struct {
	// Client is the host:port for clients, Cluster the one for its peers.
	Client  string
	Cluster string
}

// API says how the agents' HTTP servers are reached, and who may change something
// through them: nobody without a TokenFile or a TLS.ClientCAFile.
type API struct {
	// TokenFile is the file with the token that may be shown, the same on all hosts.
	TokenFile string
	TLS       APITLS
}

// APITLS is how agents and those who call them know each other; the zero APITLS is
// plain HTTP. All are absolute names of files in PEM.
type APITLS struct {
	// CertFile and KeyFile are the agent's own.
	CertFile, KeyFile string
	// CAFile vouches for the agents, to commands; empty stands for the system's.
	CAFile string
	// ClientCAFile vouches for who may change something without a token.
	ClientCAFile string
	// ClientCertFile and ClientKeyFile are what commands show.
	ClientCertFile, ClientKeyFile string
}

// On reports whether the agents serve their API over TLS.
func (t APITLS) On() bool { return t.CertFile != "" }

// NATS says where events go.
type NATS struct {
	// URL is an external NATS, or several of its servers with commas between them;
	// empty means the one embedded in the agents.
	URL string
	// CredsFile, NKeyFile, TokenFile, or User with PasswordFile is how agents and
	// commands log in. The embedded one knows TokenFile alone.
	CredsFile, NKeyFile, TokenFile string
	User, PasswordFile             string
	// ReaderTokenFile has a second token of the embedded one: who shows it may read
	// the events and nothing else.
	ReaderTokenFile string
	TLS             NATSTLS
}

// NATSTLS is how NATS and its clients know each other.
type NATSTLS struct {
	// CAFile vouches for the servers; CertFile and KeyFile are the client's. Of the
	// embedded NATS they are also the servers', which know each other by them.
	CAFile, CertFile, KeyFile string
}

// GossipAccess says who may gossip.
type GossipAccess struct {
	// Keys is the absolute name of the file with the keys that gossip is
	// encrypted with; empty leaves gossip in the clear.
	Keys string
}

// Detection tunes how soon a node is taken for lost. A wrong verdict costs a
// pause of replication from that node and nothing else.
type Detection struct {
	// ProbeInterval is the time between two SQL probes of one node; default
	// 200ms.
	ProbeInterval time.Duration
	// ProbeTimeout bounds one SQL probe; default 500ms.
	ProbeTimeout time.Duration
	// SilentAfter is how long a node must answer nothing at all before its
	// silence counts as evidence; default 1s.
	SilentAfter time.Duration
	// EvidenceTTL is how long a member's report counts that it does not renew;
	// default 1.5s. It is longer than ProbeInterval and ProbeTimeout together,
	// or the reports of slow probes would expire between two of them.
	EvidenceTTL time.Duration
	// StartupGrace is how long after its own start an agent fails no node that
	// it has never seen alive; default 10s.
	StartupGrace time.Duration
	// Quorum is how many members must report evidence; default majority.
	Quorum Quorum
	// FlapAfter failures (default 3) within FlapWindow (10m) make a node flap. It
	// is then taken back only when it has answered without a break for HoldDown
	// (5s), which doubles with each further failure up to HoldDownMax (2m).
	FlapAfter   int
	FlapWindow  time.Duration
	HoldDown    time.Duration
	HoldDownMax time.Duration
	Gossip      Gossip
}

// Gossip tunes the membership protocol, which raises suspicion.
type Gossip struct {
	// ProbeInterval is the time between two probes of members; default 200ms.
	ProbeInterval time.Duration
	// ProbeTimeout bounds one such probe; default 100ms.
	ProbeTimeout time.Duration
	// Interval is the time between two rounds of gossip; default 50ms.
	Interval time.Duration
}

// Recovery bounds what a recovery may take.
type Recovery struct {
	// Conflicts is what becomes of two versions of a row; default
	// last_update_wins.
	Conflicts Conflicts
	// Fallback is what becomes of a gap that no slot covers; default refuse.
	Fallback Fallback
	// DrainTimeout bounds the wait for an apply worker to finish what it has
	// received before its subscription is disabled; default 10s.
	DrainTimeout time.Duration
	// StepTimeout bounds a step that neither carries nor compares data, over
	// all of its attempts; default 2m. It ends what hangs: a node that dies is
	// noticed by the detector.
	StepTimeout time.Duration
	// SubscribeTimeout bounds carrying a gap across, over all attempts;
	// default 2h. What was carried stays, and the next run goes on from there.
	SubscribeTimeout time.Duration
	// VerifyTimeout bounds proving the survivors equal, over all attempts;
	// default 1h.
	VerifyTimeout time.Duration
	// HoldDown is how long a node that was taken back and is lost again has to
	// wait for its recovery, so that one that flaps does not keep the others
	// busy; default 0s, not at all.
	HoldDown time.Duration
}

// Keeper tunes the loop that makes recovery slots and moves them forward.
type Keeper struct {
	// Interval is the time between two ticks; default 200ms.
	Interval time.Duration
}

// Slots guards the WAL that slots hold back.
type Slots struct {
	// WarnBytes is the retained WAL of one slot from which it is reported as
	// at risk, in bytes; default 1GiB.
	WarnBytes int64
	// MaxBytes is the WAL that one slot may hold back for a node that stays
	// lost; then the slot is dropped. 0, the default, is without limit.
	MaxBytes int64
	// ReleaseAfter is how long the node must have been lost; default 1h.
	ReleaseAfter time.Duration
	// ReleaseMeshSlots lets slots be dropped that are not Healer's own: those
	// that fed the lost node, which then needs a rebuild. Default false.
	ReleaseMeshSlots bool
}

// Hook is what is run when something happens: a program or a request.
type Hook struct {
	// On is a pattern of kinds of events, as in events.Filter.
	On string
	// Exec is a program, by its absolute path, and its arguments; there is no shell.
	Exec []string
	// Webhook is a URL that is posted to, signed with the secrets in SecretFile.
	Webhook    string
	SecretFile string
	// Timeout bounds one run; default 10s.
	Timeout time.Duration
}

// Defaults returns a config with every default, and neither cluster nor nodes.
func Defaults() Config {
	return Config{
		Engine: EngineAuto,
		Mode:   ModeAuto,
		Detection: Detection{
			ProbeInterval: 300 * time.Millisecond,
			ProbeTimeout:  500 * time.Millisecond,
			SilentAfter:   time.Second,
			EvidenceTTL:   1500 * time.Millisecond,
			StartupGrace:  10 * time.Second,
			Quorum:        QuorumMajority,
			FlapAfter:     3,
			FlapWindow:    10 * time.Minute,
			HoldDown:      5 * time.Second,
			HoldDownMax:   2 * time.Minute,
			Gossip: Gossip{
				ProbeInterval: 200 * time.Millisecond,
				ProbeTimeout:  100 * time.Millisecond,
				Interval:      50 * time.Millisecond,
			},
		},
		Recovery: Recovery{
			Conflicts:        LastUpdateWins,
			Fallback:         RefuseGap,
			DrainTimeout:     10 * time.Second,
			StepTimeout:      2 * time.Minute,
			SubscribeTimeout: 2 * time.Hour,
			VerifyTimeout:    time.Hour,
		},
		Keeper: Keeper{Interval: 200 * time.Millisecond},
		Slots:  Slots{WarnBytes: 1 << 30, ReleaseAfter: time.Hour},
	}
}

// Node returns the named node, and false when the file has none of that name.
func (c *Config) Node(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// Names returns the nodes' names, sorted.
func (c *Config) Names() []string {
	names := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// Witness returns the named witness, and false when the file has none of that
// name.
func (c *Config) Witness(name string) (Witness, bool) {
	i := slices.IndexFunc(c.Witnesses, func(w Witness) bool { return w.Name == name })
	if i < 0 {
		return Witness{}, false
	}
	return c.Witnesses[i], true
}

// WitnessNames returns the witnesses' names, sorted.
func (c *Config) WitnessNames() []string {
	names := make([]string, 0, len(c.Witnesses))
	for _, w := range c.Witnesses {
		names = append(names, w.Name)
	}
	slices.Sort(names)
	return names
}

// EmbeddedNATS reports whether the agents run NATS themselves.
func (c *Config) EmbeddedNATS() bool { return c.NATS.URL == "" }

// NATSURLs is where clients reach NATS: the external one, or the embedded servers
// of all members that run one, but those of the named members.
func (c *Config) NATSURLs(but ...string) []string {
	if !c.EmbeddedNATS() {
		return strings.Split(c.NATS.URL, ",")
	}
	var urls []string
	scheme := "nats://"
	if c.NATS.TLS.CertFile != "" {
		scheme = "tls://"
	}
	add := func(name string, n NodeNATS) {
		if n.Client != "" && !slices.Contains(but, name) {
			urls = append(urls, scheme+n.Client)
		}
	}
	for _, n := range c.Nodes {
		add(n.Name, n.NATS)
	}
	for _, w := range c.Witnesses {
		add(w.Name, w.NATS)
	}
	return urls
}
