package fault

import (
	"maps"
	"slices"
	"strings"
)

// Kind is what a fault does.
type Kind string

// The kinds of faults.
const (
	ServerKill          Kind = "server_kill"
	PostmasterKill      Kind = "postmaster_kill"
	ServerStop          Kind = "server_stop"
	ServerFreeze        Kind = "server_freeze"
	RecoveryCrash       Kind = "recovery_crash"
	RestartStorm        Kind = "restart_storm"
	NodeKill            Kind = "node_kill"
	ProcessKill         Kind = "process_kill"
	ProcessFreeze       Kind = "process_freeze"
	BackendsTerminate   Kind = "backends_terminate"
	AgentKill           Kind = "agent_kill"
	AgentStop           Kind = "agent_stop"
	AgentFreeze         Kind = "agent_freeze"
	ClockStep           Kind = "clock_step"
	LinkCut             Kind = "link_cut"
	LinkSlow            Kind = "link_slow"
	LinkNarrow          Kind = "link_narrow"
	LinkReset           Kind = "link_reset"
	LinkHalfOpen        Kind = "link_half_open"
	LinkRefuse          Kind = "link_refuse"
	NATSServerLoss      Kind = "nats_server_loss"
	NATSLeaderLoss      Kind = "nats_leader_loss"
	NATSGone            Kind = "nats_gone"
	DiskFull            Kind = "disk_full"
	SlotDrop            Kind = "slot_drop"
	SubscriptionDisable Kind = "subscription_disable"
	DDL                 Kind = "ddl"
	BackupRestore       Kind = "backup_restore"
	Command             Kind = "command"
)

// Entry is a row of the table of kinds.
type Entry struct {
	Kind Kind
	// Text is what it does, Proof what shows that it did.
	Text, Proof string
	// Needs is what the machine must allow; empty for a kind that goes anywhere.
	Needs string
	// Staging: it can be made in a user's own cluster.
	Staging bool
	// takes are the parameters that it may have, needs those that it must have.
	takes, needs []string
	inject       injection
}

// Kinds is the table of all kinds, in the order of the documentation.
func Kinds() []Entry {
	node, link := []string{"node"}, []string{"node", "peer", "link"}
	with := func(more ...string) []string { return append([]string{"node"}, more...) }
	return []Entry{
		{Kind: ServerKill, Text: "SIGKILL of every process of the server", Proof: "no process of it is left", takes: node, needs: node, inject: serverKill},
		{Kind: PostmasterKill, Text: "SIGKILL of the postmaster alone", Proof: "the postmaster is reaped", takes: node, needs: node, inject: postmasterKill},
		{Kind: ServerStop, Text: "a fast or immediate shutdown", Proof: "no process of it is left", takes: with("mode"), needs: node, inject: serverStop},
		{Kind: ServerFreeze, Text: "SIGSTOP of every process of the server, SIGCONT at the end", Proof: "all are in state T", takes: node, needs: node, inject: serverFreeze},
		{Kind: RecoveryCrash, Text: "SIGKILL of the server, and again while it recovers from that", Proof: "its log has begun a recovery that it has not ended", takes: node, needs: node, inject: recoveryCrash},
		{Kind: RestartStorm, Text: "immediate restarts, one after the other", Proof: "each start has taken a connection", takes: with("times"), needs: node, inject: restartStorm},
		{Kind: NodeKill, Text: "SIGKILL of the server and of the agent at the same instant: the loss of a host", Proof: "no process of either is left", takes: node, needs: node, inject: nodeKill},
		{Kind: ProcessKill, Text: "SIGKILL of a backend, a walsender or an apply worker: the server restarts all of its processes", Proof: "the process is gone", takes: with("peer", "process"), needs: with("process"), inject: processKill},
		{Kind: ProcessFreeze, Text: "SIGSTOP of a backend, a walsender or an apply worker, SIGCONT at the end", Proof: "it is in state T", takes: with("peer", "process"), needs: with("process"), inject: processFreeze},
		{Kind: BackendsTerminate, Text: "pg_terminate_backend of every client's session", Proof: "how many sessions it ended", Staging: true, takes: node, needs: node, inject: backendsTerminate},
		{Kind: AgentKill, Text: "SIGKILL of the agent", Proof: "its process is reaped", takes: node, needs: node, inject: agentKill},
		{Kind: AgentStop, Text: "SIGTERM of the agent, which ends in order", Proof: "its process is reaped", takes: node, needs: node, inject: agentStop},
		{Kind: AgentFreeze, Text: "SIGSTOP of the agent, SIGCONT at the end", Proof: "it is in state T", takes: node, needs: node, inject: agentFreeze},
		{Kind: ClockStep, Text: "the agent's wall clock steps by an offset, and back", Proof: "what the agent's HTTP server says the time is", Needs: needsClock, takes: with("offset"), needs: with("offset"), inject: clockStep},
		{Kind: LinkCut, Text: "no byte passes, both ways or one way; the connections stay", Proof: "the other end gives no sign of life", Needs: needsNetwork, Staging: true, takes: append(link, "way"), needs: []string{"node", "link"}, inject: bends(Bend{Cut: Both})},
		{Kind: LinkSlow, Text: "each chunk takes longer, both ways", Proof: "a sign of life takes twice the delay", Needs: needsNetwork, Staging: true, takes: append(link, "delay"), needs: []string{"node", "link", "delay"}, inject: bends(Bend{})},
		{Kind: LinkNarrow, Text: "so many bytes a second and no more", Proof: "a sign of life takes its bytes' time", Staging: true, takes: append(link, "rate"), needs: []string{"node", "link", "rate"}, inject: bends(Bend{})},
		{Kind: LinkReset, Text: "the connections that exist are reset", Proof: "how many they were", Staging: true, takes: link, needs: []string{"node", "link"}, inject: linkReset},
		{Kind: LinkHalfOpen, Text: "the server's side of each connection is reset, and the client hears nothing of it", Proof: "the client's side stays, and no answer comes", Staging: true, takes: link, needs: []string{"node", "link"}, inject: bends(Bend{HalfOpen: true})},
		{Kind: LinkRefuse, Text: "the port refuses: connections are reset, new ones refused", Proof: "a connection is refused", Staging: true, takes: link, needs: []string{"node", "link"}, inject: bends(Bend{Refuse: true})},
		{Kind: NATSServerLoss, Text: "one agent's NATS server hears no other", Proof: "its route gives no sign of life", Needs: needsNetwork, takes: node, needs: node, inject: natsServerLoss},
		{Kind: NATSLeaderLoss, Text: "SIGKILL of the agent whose NATS server leads the stream of events", Proof: "its process is reaped", inject: natsLeaderLoss},
		{Kind: NATSGone, Text: "no agent's NATS server hears another: nobody has the stream", Proof: "no route gives a sign of life", Needs: needsNetwork, inject: natsGone},
		{Kind: DiskFull, Text: "the file system with the server's data has no byte left", Proof: "what it says is left", Needs: needsDisk, takes: node, needs: node, inject: diskFull},
		{Kind: SlotDrop, Text: "a stranger drops a slot", Proof: "the slot was there, and is dropped", takes: with("peer", "slot"), needs: with("slot"), inject: slotDrop},
		{Kind: SubscriptionDisable, Text: "a stranger disables a subscription, and enables it at the end", Proof: "the catalog says that it is disabled", Staging: true, takes: with("peer", "subscription"), needs: node, inject: subscriptionDisable},
		{Kind: DDL, Text: "a column is added to a replicated table on every node that can be reached, on the others at the end", Proof: "the catalogs have the column", inject: ddl},
		{Kind: BackupRestore, Text: "the node is lost, and comes back with the data that it had before its last transactions", Proof: "another node has applied what its data has not", takes: node, needs: node, inject: backupRestore},
		{Kind: Command, Text: "a program of yours makes the fault, another ends it", Proof: "the program's exit code is 0", Staging: true, takes: with("run", "undo", "lost"), needs: []string{"run", "undo"}, inject: command},
	}
}

const (
	needsNetwork = "for links between agents root and /dev/net/tun"
	needsDisk    = "root, which may mount a tmpfs"
	needsClock   = "x86-64, and the right to trace the agent"
)

func (k Kind) entry() (Entry, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(e Entry) bool { return e.Kind == k })
	if i < 0 {
		return Entry{}, false
	}
	return all[i], true
}

// Staging reports whether the kind can be made in a user's own cluster.
func (k Kind) Staging() bool {
	e, _ := k.entry()
	return e.Staging
}

// Takes reports whether a fault of the kind may have the parameter.
func (k Kind) Takes(parameter string) bool {
	e, _ := k.entry()
	return slices.Contains(e.takes, parameter)
}

func names() []string {
	set := map[string]bool{}
	for _, e := range Kinds() {
		set[string(e.Kind)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// Table is the table of kinds in Markdown, for the documentation.
func Table() string {
	var b strings.Builder
	b.WriteString("| fault | what it does | takes | proof that it took effect | needs |\n|---|---|---|---|---|\n")
	for _, e := range Kinds() {
		takes := make([]string, 0, len(e.takes))
		for _, p := range e.takes {
			if slices.Contains(e.needs, p) {
				p = "**" + p + "**"
			}
			takes = append(takes, p)
		}
		b.WriteString("| `" + string(e.Kind) + "` | " + e.Text + " | " + strings.Join(takes, ", ") + " | " + e.Proof + " | " + e.Needs + " |\n")
	}
	return b.String()
}
