package planner

import (
	"fmt"
	"slices"
	"strings"

	"healer/topology"
)

// obstacle is why a laggard cannot read from a source.
type obstacle struct {
	reason Reason
	// node is the server on which it is to be mended.
	node string
	// why completes the sentence "n2 lacks ..., which n1 holds, but".
	why    string
	remedy string
}

// logless reports whether it is the log alone that is missing: the source has the
// rows, and the mesh exchanges them. A table that the source does not publish at
// all is not exchanged, and comparing it would show nothing.
func (o obstacle) logless() bool {
	return slices.Contains([]Reason{SlotMissing, SlotLost, SlotYounger, PublicationYounger}, o.reason)
}

// route says how target can read origin's transactions out of the log of s:
// through the clone that an earlier run left, or through a copy of the recovery
// slot. The obstacle is nil when it can.
func route(origin string, s, target survivor) (Lane, *obstacle) {
	slot, hasSlot := s.Slot(topology.SlotRecovery, target.Name, "")
	clone, hasClone := s.Slot(topology.SlotClone, target.Name, origin)
	lane := Lane{
		Target: target.Name, Source: s.Name,
		Slot:  topology.RecoverySlotName(s.Database, s.Name, target.Name),
		Clone: topology.CloneSlotName(s.Database, s.Name, target.Name, origin),
	}
	if hasSlot {
		lane.Slot = slot.Name
	}
	if hasClone {
		lane.Clone = clone.Name
	}
	// What is read is the clone, if there is one already: it stands where the
	// slot stood when it was copied.
	read := lane.Slot
	switch {
	case hasClone && usable(clone):
		read = lane.Clone
	case hasSlot && usable(slot):
	default:
		return lane, noSlot(origin, s, target.Name, hasSlot || hasClone)
	}
	return lane, decodes(origin, s, target, read)
}

// usable reports whether the WAL a slot stands for is still there.
func usable(s topology.Slot) bool { return s.WALStatus != "lost" }

// noSlot tells apart why s has no log to read from.
func noSlot(origin string, s survivor, target string, lost bool) *obstacle {
	remedy := "healer slots list shows them; when the gap does not close, " + byRows(origin, target)
	if lost {
		return &obstacle{SlotLost, s.Name, "the recovery slot on " + s.Name + " has lost its WAL", remedy}
	}
	if seed, ok := s.Slot(topology.SlotSeed, target, ""); ok {
		return &obstacle{
			SlotYounger, s.Name,
			fmt.Sprintf("slot %s on %s was made when the gap was there already: what came before it may be gone", seed.Name, s.Name), remedy,
		}
	}
	return &obstacle{SlotMissing, s.Name, s.Name + " has no recovery slot for it: its WAL may be gone", remedy}
}

// decodes compares what the log of s says of the tables with what target makes
// of it. Where it was not read, the recovery finds out as it goes.
func decodes(origin string, s, target survivor, slot string) *obstacle {
	if !reads(s, origin) || !reads(target, origin) {
		return nil
	}
	younger := s.Schema.Younger[slot]
	var missing []string
	for _, t := range target.Schema.Receives {
		i := slices.IndexFunc(s.Schema.Publishes[target.Name], func(p topology.Table) bool { return p.TableName == t.TableName })
		switch {
		case i < 0:
			return &obstacle{
				PublicationMissing, s.Name,
				fmt.Sprintf("no publication of %s covers table %s: its changes decode to nothing", s.Name, t.TableName),
				"the agent of " + s.Name + " makes publication healer for the future; when the gap does not close, " + rebuild(target.Name),
			}
		case slices.Contains(younger, t.TableName):
			return &obstacle{
				PublicationYounger, s.Name,
				fmt.Sprintf("table %s joined the publication on %s when slot %s may have stood before that already: its older changes decode to nothing",
					t.TableName, s.Name, slot),
				"healer slots list shows how far the slot is; when the gap does not close, " + byRows(origin, target.Name),
			}
		}
		missing = append(missing, differs(s.Name, target.Name, s.Schema.Publishes[target.Name][i], t)...)
	}
	if len(missing) == 0 {
		return nil
	}
	return &obstacle{
		SchemaMismatch, target.Name, strings.Join(missing, "; "),
		"on " + target.Name + ": create what is missing as it is on " + s.Name + "; then Healer goes on by itself",
	}
}

// reads reports whether the node's tables were read for a plan about origin.
func reads(s survivor, origin string) bool { return s.Schema != nil && s.Schema.Origin == origin }

// differs lists why a change of the table as the source publishes it cannot be
// applied on the target. Values travel as text, so many types take each other's
// values: only those of different classes are held not to fit, and strings and
// types of the user's own, which can be anything, fit all.
func differs(source, target string, from, to topology.Table) []string {
	if to.Missing {
		return []string{fmt.Sprintf("%s has no table %s", target, to.TableName)}
	}
	var out []string
	for _, c := range from.Columns {
		here, ok := to.Column(c.Name)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("table %s on %s has no column %s", to.TableName, target, c.Name))
		case here.Category != c.Category && !strings.ContainsAny(here.Category+c.Category, "SUE"):
			out = append(out, fmt.Sprintf("column %s of table %s is of type %s on %s and of type %s on %s",
				c.Name, to.TableName, here.Type, target, c.Type, source))
		}
	}
	return out
}
