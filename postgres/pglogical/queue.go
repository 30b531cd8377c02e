package pglogical

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"healer/postgres"
	"healer/postgres/engine"
)

// The types of messages in pglogical.queue, as pglogical_queue.h has them.
const (
	queuedSQL       = "Q"
	queuedTruncate  = "T"
	queuedTableSync = "A"
	queuedSequence  = "S"
)

// Command reads a row of pglogical.queue. The source has done what it says, under the
// origin of who queued it: rows that came of it, and a TRUNCATE, are in the source's log and
// are carried from there. The value of a sequence is in no log that is decoded, and is
// set. DDL is not done: how the laggard's tables are is its owner's to say.
func (Dialect) Command(row map[string]string, sets []string) engine.Command {
	if !concerns(row["replication_sets"], sets) {
		return engine.Command{}
	}
	switch kind := row["message_type"]; kind {
	case queuedTruncate:
		return engine.Command{}
	case queuedSequence:
		return sequence(row["message"])
	case queuedSQL:
		var sql string
		if err := json.Unmarshal([]byte(row["message"]), &sql); err != nil {
			sql = row["message"]
		}
		return engine.Command{
			Stop: fmt.Sprintf("it runs, as role %s: %s", row["role"], sql),
			By:   "run that there, without what it does to rows: those are carried",
		}
	case queuedTableSync:
		return engine.Command{
			Stop: "it has a table copied anew: " + row["message"],
			By:   "copy the table from another survivor, and remove it from and add it to the subscription",
		}
	default:
		return engine.Command{Stop: fmt.Sprintf("it is a message of unknown type %q: %s", kind, row["message"]), By: "do what it asks for"}
	}
}

// concerns reports whether a message for some sets reaches who subscribes to others. A
// message for none reaches everybody.
func concerns(text string, sets []string) bool {
	named, err := names(text)
	return err != nil || len(named) == 0 || slices.ContainsFunc(named, func(s string) bool { return slices.Contains(sets, s) })
}

// names reads the text of an array of names.
func names(text string) ([]string, error) {
	inner, ok := strings.CutPrefix(text, "{")
	inner, ok2 := strings.CutSuffix(inner, "}")
	if !ok || !ok2 {
		return nil, fmt.Errorf("%q is no array", text)
	}
	var out []string
	var b strings.Builder
	quoted, escaped := false, false
	for _, r := range inner {
		switch {
		case escaped:
			escaped = false
			b.WriteRune(r)
		case r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > 0 || len(out) > 0 {
		out = append(out, b.String())
	}
	return out, nil
}

// sequence sets one forward, never back: another node's value may be there already.
func sequence(message string) engine.Command {
	var m struct {
		Schema string `json:"schema_name"`
		Name   string `json:"sequence_name"`
		Last   string `json:"last_value"`
	}
	if err := json.Unmarshal([]byte(message), &m); err != nil || m.Name == "" {
		return engine.Command{Stop: "it sets a sequence, and cannot be read: " + message, By: "set the sequence with setval"}
	}
	name := postgres.Ident(m.Schema) + "." + postgres.Ident(m.Name)
	return engine.Command{SQL: "SELECT setval(" + postgres.Literal(name) + ", greatest((SELECT last_value FROM " + name + "), " +
		postgres.Literal(m.Last) + "::bigint))"}
}
