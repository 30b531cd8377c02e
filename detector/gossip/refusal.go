package gossip

import (
	"cmp"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Reason is why something was turned away.
type Reason string

// The reasons.
const (
	// OtherCluster is gossip of another cluster, or no gossip at all.
	OtherCluster Reason = "other_cluster"
	// WrongKey is encrypted with a key that this agent has not.
	WrongKey Reason = "wrong_key"
	// NotEncrypted came in the clear to an agent that has keys, Encrypted
	// came encrypted to one that has none.
	NotEncrypted Reason = "not_encrypted"
	Encrypted    Reason = "encrypted"
	// NotAMember is an agent under a name that is not configured.
	NotAMember Reason = "not_a_member"
	// NameInUse is a second agent under the name of one that lives.
	NameInUse Reason = "name_in_use"
	// Malformed is what this version cannot read.
	Malformed Reason = "malformed"
)

// Reasons lists all reasons, sorted.
func Reasons() []Reason {
	return []Reason{Encrypted, Malformed, NameInUse, NotAMember, NotEncrypted, OtherCluster, WrongKey}
}

// Refusal is what was turned away for one reason.
type Refusal struct {
	Reason Reason
	// Count is how many packets and streams it were.
	Count uint64
	// Last is when the last of them came, From its host, Detail what it said
	// of itself.
	Last   time.Time
	From   string
	Detail string
}

// maxLogged bounds for how many hosts it is remembered that they were logged.
const maxLogged = 256

// refusals counts what is turned away. Of each host and reason the log has one
// line: whoever knocks does so for ever.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	by     map[Reason]Refusal
	logged map[[2]string]bool
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, by: map[Reason]Refusal{}, logged: map[[2]string]bool{}}
}

// add counts one refusal; from is where it came from, nil when nobody knows.
func (r *refusals) add(why Reason, from net.Addr, detail string) {
	host := hostOf(from)
	r.mu.Lock()
	known := r.by[why]
	r.by[why] = Refusal{
		Reason: why, Count: known.Count + 1, Last: time.Now(),
		From: cmp.Or(host, known.From), Detail: cmp.Or(detail, known.Detail),
	}
	key := [2]string{string(why), cmp.Or(host, detail)}
	first := !r.logged[key] && len(r.logged) < maxLogged
	if first {
		r.logged[key] = true
	}
	r.mu.Unlock()
	if first {
		r.log.Warn("gossip refused, here for the first time and from now on only counted",
			"reason", string(why), "from", host, "detail", detail)
	}
}

// all returns what was refused so far, by reason.
func (r *refusals) all() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.by), func(a, b Refusal) int { return cmp.Compare(a.Reason, b.Reason) })
}

// total is how much was refused so far.
func (r *refusals) total() uint64 {
	var n uint64
	for _, one := range r.all() {
		n += one.Count
	}
	return n
}

// hostOf is the host of an address, without the port that changes with every
// connection.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
