package schema_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"healer/events"
)

const asyncapi = "../../docs/asyncapi.yaml"

const asyncapiHead = `# Made from the Go types by: go test ./events/schema -args -rewrite
asyncapi: 3.0.0
info:
  title: Healer's events
  version: '1'
  description: >-
    What Healer tells of an active-active PostgreSQL cluster. Nothing is decided by
    events; docs/events.md says what each means, and what makes two of them one.
defaultContentType: application/cloudevents+json
servers:
  agents:
    host: '{host}:4222'
    protocol: nats
    description: The NATS that the agents embed, at nats.client of any node, or that of nats.url.
    variables:
      host: {description: Where an agent runs.}
`

// asyncapiText is the document.
func asyncapiText() string {
	var channels, operations, messages strings.Builder
	for _, c := range catalog() {
		id := strings.ReplaceAll(string(c.kind), ".", "_")
		sev, _ := c.kind.Severity()
		fmt.Fprintf(&channels, `  %s:
    address: %s
    parameters:
      cluster: {$ref: '#/components/parameters/cluster'}
    messages:
      event: {$ref: '#/components/messages/%s'}
`, id, events.Subject("{cluster}", c.kind), id)
		fmt.Fprintf(&operations, `  tell_%s:
    action: send
    summary: %s
    channel: {$ref: '#/channels/%s'}
`, id, quoted(c.when), id)
		fmt.Fprintf(&messages, `    %s:
      name: %s
      title: %s
      contentType: application/cloudevents+json
      headers: {$ref: '#/components/schemas/headers'}
      correlationId: {$ref: '#/components/correlationIds/recovery'}
      payload:
        allOf:
          - $ref: ../events/schema/event.json
          - type: object
            required: [data]
            properties:
              type: {const: healer.v1.%s}
              severity: {const: %s}
              data: {$ref: ../events/schema/%s.json}
`, id, "healer.v1."+string(c.kind), c.kind, c.kind, sev, c.kind)
	}
	return asyncapiHead + "channels:\n" + channels.String() + "operations:\n" + operations.String() + `components:
  parameters:
    cluster: {description: The name of the cluster in its file.}
  correlationIds:
    recovery:
      description: The events of one recovery have its id.
      location: $message.payload#/recovery
  schemas:
    headers:
      type: object
      properties:
        Nats-Msg-Id: {type: string, description: The id of the event.}
        Content-Type: {const: application/cloudevents+json}
  messages:
` + messages.String()
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// TestAsyncAPI: the document is what the catalog says, everything it refers to is
// there, and each message's payload takes the example of its kind and no other's.
func TestAsyncAPI(t *testing.T) {
	same(t, asyncapi, asyncapiText())
	text, err := os.ReadFile(asyncapi)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(asJSON, &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("file:///docs/asyncapi.yaml", doc); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var of any
		if err := json.Unmarshal(b, &of); err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("file:///events/schema/"+name, of); err != nil {
			t.Fatal(err)
		}
	}
	refers(t, doc, doc)
	all := catalog()
	for i, k := range all {
		id := strings.ReplaceAll(string(k.kind), ".", "_")
		s, err := c.Compile("file:///docs/asyncapi.yaml#/components/messages/" + id + "/payload")
		if err != nil {
			t.Fatal(err)
		}
		for other, want := range map[int]bool{i: true, (i + 1) % len(all): false} {
			b, err := all[other].example(t).Encode()
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(v); (err == nil) != want {
				t.Errorf("%s as %s: %v", all[other].kind, k.kind, err)
			}
		}
	}
}

// refers looks up every reference inside the document and to files beside it.
func refers(t *testing.T, doc, at any) {
	switch v := at.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && !found(doc, ref) {
			t.Errorf("%s is not there", ref)
		}
		for _, sub := range v {
			refers(t, doc, sub)
		}
	case []any:
		for _, sub := range v {
			refers(t, doc, sub)
		}
	}
}

func found(doc any, ref string) bool {
	path, inside := strings.CutPrefix(ref, "#/")
	if !inside {
		_, err := os.Stat(filepath.Join(filepath.Dir(asyncapi), ref))
		return err == nil
	}
	for part := range strings.SplitSeq(path, "/") {
		m, ok := doc.(map[string]any)
		if !ok || m[part] == nil {
			return false
		}
		doc = m[part]
	}
	return true
}
