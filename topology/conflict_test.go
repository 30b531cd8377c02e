package topology_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

// TestConflictLogMerges: logs put together are the log of all conflicts in their
// order, whatever was in which; all are counted, the first thousand listed.
func TestConflictLogMerges(t *testing.T) {
	for _, sizes := range [][]int{{}, {0, 0}, {3, 4}, {700, 700, 700}, {topology.ListedConflicts, 1}, {1, topology.ListedConflicts}} {
		var whole, merged topology.ConflictLog
		total, n := int64(0), 0
		for _, size := range sizes {
			var part topology.ConflictLog
			for range size {
				c := topology.RowConflict{
					Table:  fmt.Sprint("t", n%3),
					Kind:   topology.ConflictKind(fmt.Sprint("k", n%5)),
					Action: fmt.Sprint("a", n%2),
					Key:    map[string]string{"id": fmt.Sprint(n)},
				}
				n++
				total++
				part.Add(c)
				whole.Add(c)
			}
			merged.Merge(part)
		}
		if diff := cmp.Diff(whole, merged); diff != "" {
			t.Fatalf("(-one log +merged):\n%s", diff)
		}
		if merged.Total() != total || len(merged.Rows) != min(n, topology.ListedConflicts) {
			t.Fatalf("%d counted and %d listed of %d", merged.Total(), len(merged.Rows), n)
		}
		few := merged.First(3)
		if few.Total() != total || len(few.Rows) != min(n, 3) {
			t.Fatalf("of %d conflicts the first three are %+v", n, few)
		}
	}
}
