package gossip

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Instance is one life of one agent: two agents under one name are two
// instances, and so is an agent before and after a restart.
type Instance struct {
	// ID is random.
	ID string `json:"id"`
	// Addr is where it gossips, Since when it started by its own clock.
	Addr  string    `json:"addr,omitempty"`
	Since time.Time `json:"since"`
	// Build is the version of its program; empty of one that does not tell.
	Build string `json:"build,omitempty"`
}

// meta is what an agent tells of itself with every sign of life: the version it
// speaks and its instance. The address travels beside it.
func (i Instance) meta() []byte {
	b, _ := json.Marshal(Instance{ID: i.ID, Since: i.Since, Build: i.Build}) // strings and a time always can be
	return append([]byte{wireVersion}, b...)
}

// instanceOf is who a member says that it is. An ID that cannot be read is
// empty, and tells nothing.
func instanceOf(n *memberlist.Node) Instance {
	var i Instance
	if len(n.Meta) > 1 && n.Meta[0] == wireVersion {
		_ = json.Unmarshal(n.Meta[1:], &i) // see above
	}
	if ip, ok := netip.AddrFromSlice(n.Addr); ok {
		i.Addr = netip.AddrPortFrom(ip.Unmap(), n.Port).String()
	}
	return i
}

// roster is which instance holds each name, and where members were last found.
// It is called under memberlist's locks and calls nobody.
type roster struct {
	self Instance
	name string

	mu    sync.Mutex
	seats map[string]seat
	addrs map[string]netip.AddrPort
}

// seat is a name's holder.
type seat struct {
	Instance
	alive bool
	// heard is when its agent last spoke to this one itself.
	heard time.Time
	// done is the instance that has said its last word: what still comes from
	// it was handed on by others.
	done string
	// asked is when its agent was last asked whether it is there, gone when it was
	// last asked and nobody was.
	asked, gone time.Time
}

func newRoster(name string, self Instance) *roster {
	return &roster{name: name, self: self, seats: map[string]seat{}, addrs: map[string]netip.AddrPort{}}
}

// claim judges a sign of life under a name. An agent that lives at another
// address holds the name: then the claimant is refused, and the holder returned.
func (r *roster) claim(name string, c Instance) (holder Instance, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == r.name {
		if c.ID != "" && c.ID != r.self.ID && c.Addr != r.self.Addr {
			return r.self, fmt.Errorf("%q is the name of this agent", name)
		}
		return Instance{}, nil
	}
	s, known := r.seats[name]
	switch {
	case !known || !s.alive || c.ID == "" || s.ID == "" || c.ID == s.ID:
		return Instance{}, nil
	case c.Addr == s.Addr:
		// It was started again. What an earlier life has left in the air must
		// not push out the present one; memberlist's word (sit) is final.
		if c.Since.After(s.Since) {
			s.Instance = c
			r.seats[name] = s
		}
		return Instance{}, nil
	default:
		return s.Instance, fmt.Errorf("the name %q is held by the agent at %s", name, s.Addr)
	}
}

// sit notes whom memberlist has as the living holder of a name.
func (r *roster) sit(name string, i Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[name]
	if i.ID != s.ID {
		s.gone = time.Time{}
	}
	s.Instance, s.alive = i, true
	r.seats[name] = s
	if at, err := netip.ParseAddrPort(i.Addr); err == nil {
		r.addrs[name] = at
	}
}

// builds are the programs' versions of the living members, this one included.
func (r *roster) builds() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{r.name: r.self.Build}
	for name, s := range r.seats {
		if s.alive && name != r.name {
			out[name] = s.Build
		}
	}
	return out
}

// leave notes that memberlist has the holder for gone.
func (r *roster) leave(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[name]
	s.alive = false
	r.seats[name] = s
}

// hears reports whether a message under the name is to be heard: it is not when
// it comes from another than the living holder.
func (r *roster) hears(name, id string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.seats[name]
	if known && s.alive && id != "" && s.ID != "" && id != s.ID {
		return false
	}
	if known && id == s.ID && id != s.done {
		s.heard = now
		r.seats[name] = s
	}
	return true
}

// bye notes that the holder has said its last word.
func (r *roster) bye(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[name]
	s.heard, s.done = time.Time{}, s.ID
	r.seats[name] = s
}

// lately reports whether the name's holder has itself spoken to this agent
// since the given time.
func (r *roster) lately(name string, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seats[name].heard.After(since)
}

// quiet are those of the names whose holders have not spoken to this agent for as long
// as that, nor were asked, and notes that they are asked now.
func (r *roster) quiet(names []string, now time.Time, long time.Duration) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		s := r.seats[name]
		if name == r.name || now.Sub(s.heard) < long || now.Sub(s.asked) < long {
			continue
		}
		s.asked = now
		r.seats[name] = s
		out = append(out, name)
	}
	return out
}

// gone notes that the holder of a name was asked at that time and that nobody was
// there. It reports whether that is news: nothing was heard of it since.
func (r *roster) gone(name string, asked time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[name]
	if !asked.After(s.heard) {
		return false
	}
	s.gone = asked
	r.seats[name] = s
	return true
}

// absent reports whether nobody was there when the name's holder was last asked, and
// it has not spoken since.
func (r *roster) absent(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[name]
	return s.gone.After(s.heard)
}

// found notes the address a member's configured one was resolved to.
func (r *roster) found(name string, at netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs[name] = at
}

// others are the addresses of all other members, including those that memberlist
// holds for dead: whether they are is theirs to show.
func (r *roster) others() []memberlist.Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]memberlist.Address, 0, len(r.addrs))
	for name, a := range r.addrs {
		if name != r.name {
			out = append(out, memberlist.Address{Addr: a.String(), Name: name})
		}
	}
	return out
}
