package gossip

import (
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/detector"
	"healer/topology"
)

// logs are the ends of logs that an agent was told of.
type logs struct {
	own topology.LogEnd

	mu    sync.Mutex
	heard map[string]topology.LogEnd
}

func (l *logs) Own() (topology.LogEnd, bool) { return l.own, l.own.Flushed != 0 }

func (l *logs) All() map[string]topology.LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.heard)
}

func (l *logs) Hear(member string, end topology.LogEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard == nil {
		l.heard = map[string]topology.LogEnd{}
	}
	l.heard[member] = end
}

func endAt(lsn topology.LSN, at time.Time) topology.LogEnd {
	return topology.LogEnd{Identity: topology.Identity{SystemID: 1 << 63, Timeline: 2, StartedAt: 42}, Flushed: lsn, At: at}
}

// The end of a log goes along with the evidence, once, however many datagrams that
// takes; and of each no more than fits.
func TestLogEndsGoAlong(t *testing.T) {
	now := time.Now()
	c := Config{Self: "n1", Members: []Member{{Name: "n1"}, {Name: "n2"}}, Logs: &logs{own: endAt(0x500, now.Add(-time.Second))}}
	msgs, err := datagrams(message{From: "n1", Evidence: sample(9), Logs: c.ownLog(now)})
	if err != nil {
		t.Fatal(err)
	}
	heard := &logs{}
	there := Config{Self: "n2", Members: c.Members, Logs: heard}
	sent := 0
	for i, b := range msgs {
		if len(b) > maxDatagram {
			t.Errorf("datagram %d has %d bytes", i, len(b))
		}
		m, err := decode(b, maxDatagram)
		if err != nil {
			t.Fatal(err)
		}
		sent += len(m.Logs)
		there.hear(m.Logs, now.Add(time.Hour)) // its clock is another
	}
	want := map[string]topology.LogEnd{"n1": endAt(0x500, now.Add(time.Hour-time.Second))}
	if d := cmp.Diff(want, heard.All()); d != "" || sent != 1 || len(msgs) < 3 {
		t.Errorf("sent %d ends in %d datagrams (-want +heard):\n%s", sent, len(msgs), d)
	}
}

// Of strangers, and of its own node, an agent hears nothing; a negative age is none.
func TestLogEndsOfMembersAreHeard(t *testing.T) {
	now, heard := time.Now(), &logs{}
	c := Config{Self: "n2", Members: []Member{{Name: "n1"}, {Name: "n2"}}, Logs: heard}
	c.hear([]logEnd{{Node: "n9", Flushed: 1}, {Node: "n2", Flushed: 2}, {Node: "n1", Flushed: 3, Age: -time.Hour}}, now)
	if d := cmp.Diff(map[string]topology.LogEnd{"n1": {Flushed: 3, At: now}}, heard.All()); d != "" {
		t.Errorf("(-want +heard):\n%s", d)
	}
}

// Agents of a version that knows of no ends of logs read what this one says, and are
// read.
func TestLogEndsAndOlderAgents(t *testing.T) {
	type older struct {
		From     string              `json:"from"`
		ID       string              `json:"id,omitempty"`
		Evidence []detector.Evidence `json:"evidence,omitempty"`
	}
	c := Config{Self: "n1", Logs: &logs{own: endAt(0x500, time.Now())}}
	b, err := encode(message{From: "n1", ID: "i", Evidence: sample(1), Logs: c.ownLog(time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"0/500"`) || b[0] != wireVersion {
		t.Errorf("sent %s", b)
	}
	var got older
	if err := json.Unmarshal(b[1:], &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(older{From: "n1", ID: "i", Evidence: sample(1)}, got); d != "" {
		t.Errorf("(-sent +read by the older):\n%s", d)
	}
	body, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(append([]byte{wireVersion}, body...), maxDatagram)
	if err != nil || m.Logs != nil || len(m.Evidence) != 1 {
		t.Errorf("read of the older: %+v, %v", m, err)
	}
	if none := (Config{}).ownLog(time.Now()); none != nil {
		t.Errorf("an agent without logs says %+v", none)
	}
}
