package engine

import "strings"

// What engines that are extensions have in common, because Spock comes of pglogical.

// connecting stands for a worker that has not reported any activity yet.
const connecting = "connecting"

// WaitOfExtension is an expression: what process a of pg_stat_activity waits for, as
// RestOfExtension reads it.
const WaitOfExtension = `CASE WHEN a.state IS NULL THEN '` + connecting + `' ELSE coalesce(a.wait_event, '') END`

// RestOfExtension knows the wait event of an apply worker's loop, which takes all that has
// arrived before it waits. The client library in it waits for nothing that has a name, so
// that a worker which is connecting is known by not having reported what it does.
func RestOfExtension(event string) Rest {
	switch event {
	case "Extension":
		return Listening
	case connecting:
		return Connecting
	}
	return Working
}

// AuthorBySlot reads the name of an origin that has the slot's name, or, for the copy of a
// table, the same with eight hexadecimal digits behind it.
func AuthorBySlot(origin string, subs []Subscription) (uint32, bool) {
	for _, s := range subs {
		rest, ok := strings.CutPrefix(origin, s.Origin)
		if ok && (rest == "" || (len(rest) == 9 && rest[0] == '_')) {
			return s.ID, true
		}
	}
	return 0, false
}
