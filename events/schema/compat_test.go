package schema_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"healer/events"
	"healer/internal/compat"
)

// TestEarlierEvents: the events of an earlier version, of every kind that it had, are read
// whole, their data too, and a field of a later version is passed over.
func TestEarlierEvents(t *testing.T) {
	paths, err := filepath.Glob("testdata/compat/*.json")
	if err != nil || len(paths) < 26 {
		t.Fatalf("%d recordings, %v", len(paths), err)
	}
	types := map[events.Kind]reflect.Type{}
	for _, c := range catalog() {
		types[c.kind] = reflect.TypeOf(c.data)
	}
	tables := []string{"figures", "phases_ms", "laggards", "key"}
	for _, path := range paths {
		kind := events.Kind(strings.TrimSuffix(filepath.Base(path), ".json"))
		t.Run(string(kind), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if types[kind] == nil {
				t.Fatal("the kind is gone")
			}
			compat.Check(t, raw, events.Decode, func(e events.Event) ([]byte, error) {
				data := reflect.New(types[kind])
				if err := json.Unmarshal(e.Data, data.Interface()); err != nil {
					return nil, err
				}
				if e.Data, err = json.Marshal(data.Interface()); err != nil {
					return nil, err
				}
				return e.Encode()
			}, tables...)
		})
	}
}
