package gossip

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"healer/control"
	"healer/detector"
)

// wireVersion is the first byte of every message. A reader refuses versions it
// does not know; fields may be added within one version.
const wireVersion = 1

// Bounds of messages. A datagram stays below what one Ethernet frame carries,
// with room for memberlist's headers; a full state is a few pieces of evidence
// for each pair of members.
const (
	maxDatagram = 1200
	maxState    = 1 << 20
)

// message is what agents send each other.
type message struct {
	From string `json:"from"`
	// ID is the sender's instance.
	ID       string              `json:"id,omitempty"`
	Evidence []detector.Evidence `json:"evidence,omitempty"`
	// Control is what operators have said.
	Control []control.Entry `json:"control,omitempty"`
	// Logs are ends of nodes' logs: the sender's own, or all that it knows.
	Logs []logEnd `json:"logs,omitempty"`
	// Bye is set in the sender's last message.
	Bye bool `json:"bye,omitempty"`
	// Conflict, if any, concerns the receiver.
	Conflict *Conflict `json:"conflict,omitempty"`
}

// encode writes one message. Details are the words of drivers and servers: should
// one ever hold a connection string, its password stays here.
func encode(m message) ([]byte, error) {
	for i, e := range m.Evidence {
		if clean := withoutPassword(e.Detail); clean != e.Detail {
			m.Evidence = slices.Clone(m.Evidence)
			m.Evidence[i].Detail = clean
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode gossip: %w", err)
	}
	return append([]byte{wireVersion}, body...), nil
}

// withoutPassword is text with what looks like a password made unreadable, in
// connection strings of both forms.
func withoutPassword(text string) string {
	if !strings.ContainsAny(text, "=@") {
		return text
	}
	text = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'?|\S+)`).ReplaceAllString(text, "${1}*")
	return regexp.MustCompile(`(://[^:@\s/]*):[^@\s]*@`).ReplaceAllString(text, "${1}:*@")
}

// decode reads one message of at most limit bytes.
func decode(b []byte, limit int) (message, error) {
	var m message
	switch {
	case len(b) == 0:
		return m, fmt.Errorf("gossip message is empty")
	case len(b) > limit:
		return m, fmt.Errorf("gossip message has %d bytes: at most %d are allowed", len(b), limit)
	case b[0] != wireVersion:
		return m, fmt.Errorf("gossip message has version %d: this agent speaks %d", b[0], wireVersion)
	}
	if err := json.Unmarshal(b[1:], &m); err != nil {
		return m, fmt.Errorf("decode gossip: %w", err)
	}
	return m, nil
}

// datagrams encodes the message's evidence into as few messages as fit a datagram each;
// the first of them has all the rest.
// A piece that is too large alone still gets a message of its own: it is for
// the network to fragment it.
func datagrams(m message) ([][]byte, error) {
	evidence := m.Evidence
	if len(evidence) == 0 {
		return nil, nil
	}
	b, err := encode(m)
	if err != nil {
		return nil, err
	}
	if len(b) <= maxDatagram || len(evidence) == 1 {
		return [][]byte{b}, nil
	}
	half := len(evidence) / 2
	m.Evidence = evidence[:half]
	first, err := datagrams(m)
	if err != nil {
		return nil, err
	}
	m.Evidence, m.Logs = evidence[half:], nil
	second, err := datagrams(m)
	return append(first, second...), err
}
