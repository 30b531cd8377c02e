package events

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxBytes bounds the encoded size of one event.
const MaxBytes = 64 << 10

// Event is one CloudEvents 1.0 event in structured JSON mode
// (https://github.com/cloudevents/spec, version 1.0.2). The extension
// attributes carry no underscore, as that specification demands.
type Event struct {
	SpecVersion string `json:"specversion"`
	// ID is deterministic: see Fact.
	ID string `json:"id"`
	// Source is the agent that published it: /healer/<cluster>/<agent>.
	Source string `json:"source"`
	// Type is "healer.v1." and the kind.
	Type string `json:"type"`
	// Subject is the node it is about; for a recovery, the lost node.
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Severity        Severity  `json:"severity"`
	PartitionKey    string    `json:"partitionkey"`
	Cluster         string    `json:"cluster"`
	Incarnation     string    `json:"incarnation,omitempty"`
	Recovery        string    `json:"recovery,omitempty"`
	// TraceParent ties the events of one recovery to its trace (CloudEvents'
	// Distributed Tracing extension).
	TraceParent string          `json:"traceparent,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// Fact is what makes one event the same as another, whoever reports it.
type Fact struct {
	Cluster string
	Kind    Kind
	// Node is the node the event is about.
	Node string
	// Incarnation names the life of that node which the event belongs to.
	Incarnation string
	// Recovery is the plan's id for events of a recovery.
	Recovery string
	// Detail tells apart events that agree in all of the above: a step's id
	// and attempt, a slot's name, a refusal's reason.
	Detail []string
}

// ID is the hash of the fact, in lower-case base32: 26 characters.
func (f Fact) ID() string {
	return Hash(append([]string{f.Cluster, string(f.Kind), f.Node, f.Incarnation, f.Recovery}, f.Detail...)...)
}

// Hash is the deterministic id of a list of words: 128 bits of the SHA-256 of
// their length-prefixed concatenation, in lower-case base32 without padding.
func Hash(words ...string) string {
	enc := base32.StdEncoding.WithPadding(base32.NoPadding)
	return strings.ToLower(enc.EncodeToString(digest(words)[:16]))
}

// digest tells ("ab", "c") from ("a", "bc").
func digest(words []string) []byte {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return h.Sum(nil)
}

// New makes the event of a fact as agent reports it at the given time. It
// fails when the kind is unknown, data cannot be encoded as JSON, or the whole
// is larger than MaxBytes.
func New(f Fact, agent string, at time.Time, data any) (Event, error) {
	sev, ok := f.Kind.Severity()
	if !ok {
		return Event{}, fmt.Errorf("event kind %q is unknown", f.Kind)
	}
	if f.Cluster == "" {
		return Event{}, fmt.Errorf("event %s has no cluster", f.Kind)
	}
	e := Event{
		SpecVersion: "1.0", ID: f.ID(), Source: "/healer/" + f.Cluster + "/" + agent,
		Type: "healer.v1." + string(f.Kind), Subject: f.Node, Time: at.UTC(),
		DataContentType: "application/json", Severity: sev, PartitionKey: f.Node,
		Cluster: f.Cluster, Incarnation: f.Incarnation, Recovery: f.Recovery, TraceParent: traceParent(f.Recovery),
	}
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return Event{}, fmt.Errorf("data of event %s: %w", f.Kind, err)
		}
		e.Data = raw
	}
	if b, err := e.Encode(); err != nil {
		return Event{}, err
	} else if len(b) > MaxBytes {
		return Event{}, fmt.Errorf("event %s is %d bytes: at most %d are allowed", f.Kind, len(b), MaxBytes)
	}
	return e, nil
}

// Kind is the event's kind.
func (e Event) Kind() Kind { return Kind(strings.TrimPrefix(e.Type, "healer.v1.")) }

// Encode returns the event as structured-mode JSON.
func (e Event) Encode() ([]byte, error) { return json.Marshal(e) }

// Decode reads an event and checks what every consumer relies on.
func Decode(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return Event{}, fmt.Errorf("event is not JSON: %w", err)
	}
	if e.SpecVersion != "1.0" {
		return Event{}, fmt.Errorf("event has specversion %q: want 1.0", e.SpecVersion)
	}
	if e.ID == "" || e.Cluster == "" {
		return Event{}, errors.New("event has no id or no cluster")
	}
	if _, ok := e.Kind().Severity(); !ok {
		return Event{}, fmt.Errorf("event type %q is unknown", e.Type)
	}
	return e, nil
}

// Subject is the NATS subject of a kind in a cluster: healer.v1.<cluster>.<kind>.
func Subject(cluster string, k Kind) string { return SubjectPrefix(cluster) + string(k) }

// SubjectPrefix is what all subjects of a cluster begin with.
func SubjectPrefix(cluster string) string { return "healer.v1." + cluster + "." }

// Stream is the name of the JetStream stream of a cluster.
func Stream(cluster string) string {
	return "HEALER_" + strings.ToUpper(strings.ReplaceAll(cluster, "-", "_"))
}
