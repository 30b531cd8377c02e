package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"healer/postgres"
)

// What queues of messages have in common.

// Concerns reports whether a message for some sets reaches who subscribes to others. A
// message for none reaches everybody.
func Concerns(text string, sets []string) bool {
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

// SetSequence reads a message that sets a sequence, and sets it forward, never back: another node's value may be there already.
func SetSequence(message string) Command {
	var m struct {
		Schema string `json:"schema_name"`
		Name   string `json:"sequence_name"`
		Last   string `json:"last_value"`
	}
	if err := json.Unmarshal([]byte(message), &m); err != nil || m.Name == "" {
		return Command{Stop: "it sets a sequence, and cannot be read: " + message, By: "set the sequence with setval"}
	}
	name := postgres.Ident(m.Schema) + "." + postgres.Ident(m.Name)
	return Command{SQL: "SELECT setval(" + postgres.Literal(name) + ", greatest((SELECT last_value FROM " + name + "), " +
		postgres.Literal(m.Last) + "::bigint))"}
}

// StatementOf is the SQL in a message: a JSON string.
func StatementOf(message string) string {
	var sql string
	if err := json.Unmarshal([]byte(message), &sql); err != nil {
		return message
	}
	return sql
}

// UnknownMessage is the command of a message of a type that nobody here knows.
func UnknownMessage(kind, message string) Command {
	return Command{Stop: fmt.Sprintf("it is a message of unknown type %q: %s", kind, message), By: "do what it asks for"}
}
