// Package mark names the durable marks that Healer leaves on a server.
//
// A mark is a replication origin that nothing ever replays through: a row of
// pg_replication_origin, which is crash-safe, transactional to create and drop
// together with other catalog changes, and never replicated itself (a table
// would be, under FOR ALL TABLES). Origins are shared by the databases of a
// server, so a mark names its database.
//
// The package promises that Parse undoes the naming for every database and
// node name, and that a name it does not know is never taken for a mark. It
// imports topology only.
package mark

import (
	"fmt"
	"strconv"
	"strings"

	"healer/topology"
)

// Prefix is what every origin of Healer's begins with.
const Prefix = "healer:"

// Fence names the mark that Healer disabled the subscription with that oid,
// which reads from the lost node.
func Fence(database string, subscription uint32, lost string, id topology.Identity) string {
	return fmt.Sprintf("%sfence:%s:%d:%s:%d:%d", Prefix, database, subscription, lost, id.SystemID, id.Timeline)
}

// FencesOf is what the fence marks of one subscription begin with.
func FencesOf(database string, subscription uint32) string {
	return fmt.Sprintf("%sfence:%s:%d:", Prefix, database, subscription)
}

// Gap names the mark of a recovery under way of (from, to] of the lost node.
func Gap(database, lost string, from, to topology.LSN) string {
	return fmt.Sprintf("%s%x:%x", GapsOf(database, lost), uint64(from), uint64(to))
}

// GapsOf is what the gap marks of one lost node begin with.
func GapsOf(database, lost string) string {
	return Prefix + "gap:" + database + ":" + lost + ":"
}

// Bar names the mark that a node must not be taken back, and why.
func Bar(database, node, reason string, id topology.Identity) string {
	return fmt.Sprintf("%s%s:%d:%d", BarsOf(database, node), reason, id.SystemID, id.Timeline)
}

// BarsOf is what the bars of one node begin with.
func BarsOf(database, node string) string {
	return Prefix + "bar:" + database + ":" + node + ":"
}

// ParseBar reads a bar of the database.
func ParseBar(database, name string) (topology.Bar, bool) {
	rest, ok := strings.CutPrefix(name, Prefix+"bar:"+database+":")
	if !ok {
		return topology.Bar{}, false
	}
	rest, timeline, ok1 := cutLast(rest)
	rest, system, ok2 := cutLast(rest)
	node, reason, ok3 := cutLast(rest)
	sys, err1 := strconv.ParseUint(system, 10, 64)
	tli, err2 := strconv.ParseUint(timeline, 10, 32)
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || node == "" || reason == "" {
		return topology.Bar{}, false
	}
	return topology.Bar{
		Node: node, Reason: reason, Mark: name,
		Identity: topology.Identity{SystemID: sys, Timeline: uint32(tli)},
	}, true
}

// Owed names the mark that the rows of a gap of origin have still to be compared with
// a node.
func Owed(database, node, origin string) string {
	return Prefix + "owed:" + database + ":" + node + ":" + origin
}

// ParseOwed reads such a mark of the database.
func ParseOwed(database, name string) (topology.Owed, bool) {
	rest, ok := strings.CutPrefix(name, Prefix+"owed:"+database+":")
	if !ok {
		return topology.Owed{}, false
	}
	node, origin, ok := cutLast(rest)
	return topology.Owed{Node: node, Origin: origin, Mark: name}, ok && node != "" && origin != ""
}

// Done names the mark that a person has done on a node what a message asks for that a
// transaction of the lost node sent, and no recovery carries over.
func Done(database, lost string, lsn topology.LSN) string {
	return fmt.Sprintf("%s%x", DonesOf(database, lost), uint64(lsn))
}

// DonesOf is what those marks of one lost node begin with.
func DonesOf(database, lost string) string { return Prefix + "done:" + database + ":" + lost + ":" }

// Repair names the origin under which repairs with the author's rows are
// written: no mark, but an origin sessions hold.
func Repair(author string) string { return Prefix + "repair:" + author }

// FenceMark is a parsed fence mark: the fence but for the subscription's name,
// and the oid it is known by.
type FenceMark struct {
	Fence        topology.Fence
	Subscription uint32
}

// ParseFence reads a fence mark of the database.
func ParseFence(database, name string) (FenceMark, bool) {
	rest, ok := strings.CutPrefix(name, Prefix+"fence:"+database+":")
	if !ok {
		return FenceMark{}, false
	}
	// The node's name stands in the middle: what surrounds it is numbers.
	head, rest, ok1 := strings.Cut(rest, ":")
	rest, timeline, ok2 := cutLast(rest)
	node, system, ok3 := cutLast(rest)
	if !ok1 || !ok2 || !ok3 || node == "" {
		return FenceMark{}, false
	}
	oid, err1 := strconv.ParseUint(head, 10, 32)
	sys, err2 := strconv.ParseUint(system, 10, 64)
	tli, err3 := strconv.ParseUint(timeline, 10, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		return FenceMark{}, false
	}
	return FenceMark{
		Subscription: uint32(oid),
		Fence: topology.Fence{
			Origin: node, Mark: name,
			Identity: topology.Identity{SystemID: sys, Timeline: uint32(tli)},
		},
	}, true
}

// ParseGap reads a gap mark of the database.
func ParseGap(database, name string) (topology.GapMark, bool) {
	rest, ok := strings.CutPrefix(name, Prefix+"gap:"+database+":")
	if !ok {
		return topology.GapMark{}, false
	}
	rest, toHex, ok1 := cutLast(rest)
	node, fromHex, ok2 := cutLast(rest)
	if !ok1 || !ok2 || node == "" {
		return topology.GapMark{}, false
	}
	from, err1 := strconv.ParseUint(fromHex, 16, 64)
	to, err2 := strconv.ParseUint(toHex, 16, 64)
	if err1 != nil || err2 != nil {
		return topology.GapMark{}, false
	}
	return topology.GapMark{Origin: node, From: topology.LSN(from), To: topology.LSN(to), Mark: name}, true
}

// ParseRepair returns the author of a repair origin.
func ParseRepair(name string) (author string, ok bool) {
	author, ok = strings.CutPrefix(name, Prefix+"repair:")
	return author, ok && author != ""
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
