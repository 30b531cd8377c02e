package gossip

import (
	"encoding/json"
	"fmt"

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
	From     string              `json:"from"`
	Evidence []detector.Evidence `json:"evidence"`
	// Control is what operators have said.
	Control []control.Entry `json:"control,omitempty"`
}

// encode writes one message.
func encode(m message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode gossip: %w", err)
	}
	return append([]byte{wireVersion}, body...), nil
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

// datagrams encodes the evidence into as few messages as fit a datagram each.
// A piece that is too large alone still gets a message of its own: it is for
// the network to fragment it.
func datagrams(from string, evidence []detector.Evidence) ([][]byte, error) {
	if len(evidence) == 0 {
		return nil, nil
	}
	b, err := encode(message{From: from, Evidence: evidence})
	if err != nil {
		return nil, err
	}
	if len(b) <= maxDatagram || len(evidence) == 1 {
		return [][]byte{b}, nil
	}
	half := len(evidence) / 2
	first, err := datagrams(from, evidence[:half])
	if err != nil {
		return nil, err
	}
	second, err := datagrams(from, evidence[half:])
	return append(first, second...), err
}
