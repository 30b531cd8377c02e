package gossip

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/memberlist"

	"healer/internal/compat"
)

// TestEarlierMessages: what agents of an earlier version say is understood, and what one
// of a later version may say beside it passes.
func TestEarlierMessages(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join("testdata/compat", name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, name := range []string{"message.json", "message-logs.json"} {
		compat.Check(t, read(name), func(b []byte) (message, error) {
			return decode(append([]byte{1}, b...), maxState) // the version that was recorded
		}, func(m message) ([]byte, error) {
			b, err := encode(m)
			return b[1:], err
		})
	}
	compat.Check(t, read("meta.json"), func(b []byte) (Instance, error) {
		return instanceOf(&memberlist.Node{Meta: append([]byte{1}, b...)}), nil
	}, func(i Instance) ([]byte, error) { return json.Marshal(i) })
}

// TestMetaFits: however long a version is, memberlist takes what an agent says of itself.
func TestMetaFits(t *testing.T) {
	long := make([]byte, 1000)
	for i := range long {
		long[i] = 'v'
	}
	g, err := New(Config{Self: "n1", Cluster: "app", Members: []Member{{Name: "n1"}}, Build: string(long), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.roster.self.meta()); n > memberlist.MetaMaxSize || len(g.Builds()["n1"]) != MaxBuild {
		t.Errorf("%d bytes, version %q", n, g.Builds()["n1"])
	}
}
