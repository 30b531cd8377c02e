package mark

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/topology"
)

// Parse undoes the naming, colons in names included, and takes no mark of
// another database.
func TestMarksRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9_.-]{1,9}(:[a-z0-9]{1,4})?`)
	rapid.Check(t, func(t *rapid.T) {
		db, node := name.Draw(t, "database"), name.Draw(t, "node")
		oid := rapid.Uint32().Draw(t, "oid")
		id := topology.Identity{SystemID: rapid.Uint64().Draw(t, "system"), Timeline: rapid.Uint32().Draw(t, "timeline")}
		made := Fence(db, oid, node, id)
		want := FenceMark{Subscription: oid, Fence: topology.Fence{Origin: node, Identity: id, Mark: made}}
		if got, ok := ParseFence(db, made); !ok || !cmp.Equal(got, want) {
			t.Fatalf("%q: %v %s", made, ok, cmp.Diff(want, got))
		}
		from, to := topology.LSN(rapid.Uint64().Draw(t, "from")), topology.LSN(rapid.Uint64().Draw(t, "to"))
		made = Gap(db, node, from, to)
		gap := topology.GapMark{Origin: node, From: from, To: to, Mark: made}
		if got, ok := ParseGap(db, made); !ok || got != gap {
			t.Fatalf("%q: %v %s", made, ok, cmp.Diff(gap, got))
		}
		made = Bar(db, node, "behind_watermark", id)
		bar := topology.Bar{Node: node, Reason: "behind_watermark", Identity: id, Mark: made}
		if got, ok := ParseBar(db, made); !ok || got != bar {
			t.Fatalf("%q: %v %s", made, ok, cmp.Diff(bar, got))
		}
		if author, ok := ParseRepair(Repair(node)); !ok || author != node {
			t.Fatalf("repair of %q: %q", node, author)
		}
		if _, ok := ParseFence(db+"x", Fence(db, oid, node, id)); ok {
			t.Fatal("took a mark of another database")
		}
	})
}

func TestWhatIsNoMark(t *testing.T) {
	for _, s := range []string{
		"", "pg_16384", "healer:", "healer:fence:app:1:n1:1", "healer:fence:app:x:n1:1:1", "healer:fence:app:1::1:1",
		"healer:fence:app:4294967296:n1:1:1", "healer:gap:app:n1:1", "healer:gap:app:n1:g:1", "healer:gap:app::1:2",
		"healer:bar:app:n1:why:1", "healer:bar:app:n1::1:1", "healer:bar:app:n1:why:x:1",
	} {
		if b, ok := ParseBar("app", s); ok {
			t.Errorf("%q: bar %+v", s, b)
		}
		if f, ok := ParseFence("app", s); ok {
			t.Errorf("%q: fence %+v", s, f)
		}
		if g, ok := ParseGap("app", s); ok {
			t.Errorf("%q: gap %+v", s, g)
		}
	}
	if len(Fence("d", math.MaxUint32, "n", topology.Identity{SystemID: math.MaxUint64})) > 511 {
		t.Error("an origin's name has at most 512 bytes from 18 on")
	}
}

// TestEarlierMarks: what an earlier version has left in a catalog is known by this one, and
// made the same: of two versions side by side one unfences what the other has fenced.
func TestEarlierMarks(t *testing.T) {
	id := topology.Identity{SystemID: 7710915807556157496, Timeline: 1}
	for made, recorded := range map[string]string{
		Fence("app", 16395, "n3", id):            "healer:fence:app:16395:n3:7710915807556157496:1",
		Gap("app", "n3", 0x1B84BE0, 0x1B95A38):   "healer:gap:app:n3:1b84be0:1b95a38",
		Bar("app", "n3", "behind_watermark", id): "healer:bar:app:n3:behind_watermark:7710915807556157496:1",
		Repair("n3"):                             "healer:repair:n3",
	} {
		if made != recorded {
			t.Errorf("%s is made, %s was", made, recorded)
		}
	}
}
