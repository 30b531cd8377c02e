package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// maxName is NAMEDATALEN-1, the longest slot name PostgreSQL takes.
const maxName = 63

// RecoverySlotName is the name of the slot that from keeps for to. It is the
// name Spock uses, so that its recovery slots are adopted where present.
func RecoverySlotName(database, from, to string) string {
	return slotName("spock_"+database+"_recovery_"+from+"_"+to, "")
}

// SeedSlotName is the name under which a recovery slot is made before it is
// known to cover every gap.
func SeedSlotName(database, from, to string) string {
	return slotName("spock_"+database+"_recovery_"+from+"_"+to, "_seed")
}

// CloneSlotName is the name of the copy used by the recovery of origin from one
// node to another. It is deterministic, so any agent finds it again, and never
// ends in "_<digit>", which Spock takes for a slot of its own.
func CloneSlotName(database, from, to, origin string) string {
	return slotName("healer_"+database+"_clone_"+from+"_"+to+"_"+origin, "_c")
}

// MeshSlotName is the name of the slot by which from feeds to, where Healer itself
// joins them, and of the subscription.
func MeshSlotName(database, from, to string) string {
	return slotName("healer_"+database+"_mesh_"+from+"_"+to, "_m")
}

// WriterName stands, where the names of replication origins do, for an id that is in
// commits though no row of pg_replication_origin has it: Spock's apply workers write
// the id of a node there.
func WriterName(id uint32) string { return "#" + strconv.FormatUint(uint64(id), 10) }

// ParseWriterName reads what WriterName has made; false for any other name.
func ParseWriterName(name string) (uint32, bool) {
	digits, ok := strings.CutPrefix(name, "#")
	id, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || WriterName(uint32(id)) != name {
		return 0, false
	}
	return uint32(id), true
}

// slotName maps base+suffix to PostgreSQL's alphabet for slots, [a-z0-9_], and
// to at most 63 bytes, and to a name that does not end in "_<digit>". Where that
// loses information, a hash of the original takes its place, so that different
// inputs keep different names.
func slotName(base, suffix string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, base)
	if clean == base && len(clean)+len(suffix) <= maxName && !grouped(clean+suffix) {
		return clean + suffix
	}
	sum := sha256.Sum256([]byte(base))
	tag := "_h" + hex.EncodeToString(sum[:4])
	if keep := maxName - len(tag) - len(suffix); len(clean) > keep {
		clean = clean[:keep]
	}
	return clean + tag + suffix
}

// grouped reports whether Spock's output plugin takes the name for one of a group of
// slots that share the transactions among them, and each would lack some.
func grouped(name string) bool {
	n := len(name)
	return n >= 2 && name[n-2] == '_' && name[n-1] >= '0' && name[n-1] <= '9'
}

// RejoinSession is the application_name of a session that holds a recovery lock, in shared
// mode, to keep recoveries out: it applies nothing.
const RejoinSession = "healer rejoin"

// RecoveryLock is the key of the advisory lock that the apply session of a
// recovery of the origin holds in the laggard's database.
func RecoveryLock(origin string) int64 {
	sum := sha256.Sum256([]byte("healer\x00" + origin))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // any 64 bits will do
}
