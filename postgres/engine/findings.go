package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"healer/postgres"
	"healer/topology"
)

const fnOriginStatus = "pg_show_replication_origin_status()"

func settingNames() []string {
	return []string{
		"wal_level", "track_commit_timestamp", "max_slot_wal_keep_size", "idle_replication_slot_timeout",
		"max_replication_slots", "max_active_replication_origins", "max_wal_senders",
	}
}

// findings are the prerequisites the server does not meet. Blocking is what
// would make a recovery impossible or, worse, wrong.
func findings(d Dialect, b base, c catalog, n topology.NodeState, peers int) []topology.Finding {
	out := slices.Concat(settings(b), privileges(b), room(b, c, n, peers), subscriptionFindings(d, c, n))
	if b.InRecovery {
		out = append(out, topology.Finding{
			Code: "in_recovery", Blocking: true, Detail: "the server is a standby",
			Remedy: "promote it, or name the primary in the configuration",
		})
	}
	return out
}

func settings(b base) []topology.Finding {
	var out []topology.Finding
	want := func(name, value string, blocking bool, why string) {
		got, ok := b.Settings[name]
		if !ok || got == value {
			return
		}
		out = append(out, topology.Finding{
			Code: name, Blocking: blocking, Detail: fmt.Sprintf("%s is %s: %s", name, got, why),
			Remedy: fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value),
		})
	}
	want("wal_level", "logical", true, "its WAL cannot be decoded (a restart is needed to change it)")
	want("track_commit_timestamp", "on", true, "conflicts cannot be decided (a restart is needed to change it)")
	want("max_slot_wal_keep_size", "-1", false, "a recovery slot may lose its WAL when it is needed")
	want("idle_replication_slot_timeout", "0", false, "a recovery slot is idle by nature and would be invalidated")
	return out
}

func privileges(b base) []topology.Finding {
	var out []topology.Finding
	role := postgres.Ident(b.Role)
	missing := func(ok bool, what, remedy string) {
		if !ok {
			out = append(out, topology.Finding{
				Code: "grant", Blocking: true, Detail: "role " + b.Role + " may not " + what, Remedy: remedy,
			})
		}
	}
	missing(b.Replicates, "use replication slots", "ALTER ROLE "+role+" REPLICATION")
	missing(b.ReplicaSet == nil || *b.ReplicaSet, "set session_replication_role",
		"GRANT SET ON PARAMETER session_replication_role TO "+role)
	missing(b.ConnInfo, "read pg_subscription.subconninfo, which tells where a subscription reads from",
		"GRANT SELECT (subconninfo) ON pg_subscription TO "+role)
	missing(b.Stats, "see what an apply worker is doing", "GRANT pg_read_all_stats TO "+role)
	var denied []string
	for name, ok := range b.Functions {
		if ok != nil && !*ok {
			denied = append(denied, name)
		}
	}
	slices.Sort(denied)
	list := strings.Join(denied, ", ")
	missing(len(denied) == 0, "execute "+list, "GRANT EXECUTE ON FUNCTION "+list+" TO "+role)
	return out
}

// room compares what is free with what a recovery may need beside what there
// is: a recovery slot and a clone for each peer, with a walsender for each
// clone, and an origin for the repairs of each author.
func room(b base, c catalog, n topology.NodeState, peers int) []topology.Finding {
	slots, clones := 2*peers, peers
	for _, s := range n.Slots {
		switch s.Kind {
		case topology.SlotRecovery:
			slots--
		case topology.SlotClone:
			slots--
			clones--
		default: // a seed goes when its recovery slot comes
		}
	}
	originSetting := "max_active_replication_origins"
	if _, ok := b.Settings[originSetting]; !ok {
		originSetting = "max_replication_slots" // before 18 it counts both
	}
	var out []topology.Finding
	need := func(code, setting string, used, need int) {
		limit, err := strconv.Atoi(b.Settings[setting])
		if err != nil || limit-used >= need {
			return
		}
		out = append(out, topology.Finding{
			Code: code, Detail: fmt.Sprintf("%d of %s = %d are in use, a recovery may need %d more", used, setting, limit, need),
			Remedy: fmt.Sprintf("ALTER SYSTEM SET %s = '%d' (a restart is needed to change it)", setting, used+need),
		})
	}
	need("free_slots", "max_replication_slots", c.SlotsUsed, slots)
	need("free_wal_senders", "max_wal_senders", c.SendersUsed, clones)
	need("free_origins", originSetting, c.OriginsUsed, peers+1)
	return out
}

func subscriptionFindings(d Dialect, c catalog, n topology.NodeState) []topology.Finding {
	var out []topology.Finding
	for i, s := range c.Subscriptions {
		known := n.Subscriptions[i].Provider != ""
		out = append(out, d.Findings(s, known)...)
		if known && s.Unready > 0 {
			out = append(out, topology.Finding{
				Code:   "table_copy",
				Detail: fmt.Sprintf("%d tables of subscription %q are not copied yet and are left out of a recovery", s.Unready, s.Name),
				Remedy: "wait for the copy, or see the server's log why it fails",
			})
		}
	}
	return out
}
