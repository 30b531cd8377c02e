package app

import (
	"encoding/json"
	"log/slog"
	"os"
	"testing"

	"healer/control"
	"healer/internal/compat"
)

// TestEarlierDataDirectory: an agent goes on with the files that one of an earlier version
// has left.
func TestEarlierDataDirectory(t *testing.T) {
	t.Parallel()
	recorded := func(name string) []byte {
		raw, err := os.ReadFile("testdata/compat/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	compat.Check(t, recorded("memory.json"), decoded[remembered], encoded[remembered], "nodes", "confirmed", "providers", "feeds", "feeds/*", "lives", "sightings", "ends")
	compat.Check(t, recorded("agent.json"), decoded[owner], encoded[owner])
	compat.Check(t, recorded("control.json"), decoded[[]control.Entry], encoded[[]control.Entry])

	m, err := openMemory("testdata/compat/memory.json", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if n3 := m.node("n3"); !n3.Identity.Known() || n3.Flushed == 0 || len(n3.Confirmed) != 2 || len(m.providers()) != 6 || len(m.lives()) != 3 {
		t.Errorf("of n3 it knows %+v, of subscriptions %v, of lives %v", n3, m.providers(), m.lives())
	}
}

func decoded[T any](b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

func encoded[T any](v T) ([]byte, error) { return json.Marshal(v) }
