package schema

import (
	"embed"
	"fmt"

	"healer/events"
)

//go:embed *.json
var files embed.FS

// envelope is the file of the envelope's schema.
const envelope = "event.json"

// Envelope is the schema of an event but for what is in its data.
func Envelope() ([]byte, error) { return files.ReadFile(envelope) }

// Data is the schema of the data of a kind.
func Data(k events.Kind) ([]byte, error) {
	if _, known := k.Severity(); !known {
		return nil, fmt.Errorf("event kind %q is unknown", k)
	}
	return files.ReadFile(string(k) + ".json")
}
