package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/internal/localpg"
)

// A node that stays lost does not fill the survivors' disks: the slots for it are
// given up at the limit, others are not, and it is refused when it returns.
func TestSlotsOfALostNodeAreReleased(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Slots.MaxBytes = 8 << 20
	c.cfg.Slots.ReleaseAfter = 0
	c.cfg.Slots.ReleaseMeshSlots = true
	c.startAll()
	c.exec("n2", `SELECT pg_create_logical_replication_slot('of_somebody', 'pgoutput')`)
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n2", "n1", "n2", "n3")
	c.exec("n2", `SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000)) FROM generate_series(1, 12)`)
	left := func(node string) []string {
		got, err := localpg.Column[string](t.Context(), c.mesh.Node(node),
			`SELECT slot_name::text FROM pg_replication_slots WHERE NOT temporary ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := "of_somebody spock_app_recovery_n2_n3 sub_n3_from_n2"
	c.eventually("n2 has given up the slots for n1 and no other", func() error {
		if got := strings.Join(left("n2"), " "); got != want {
			return fmt.Errorf("slots %s, want %s", got, want)
		}
		return nil
	})
	if got := left("n3"); len(got) != 4 {
		t.Errorf("n3, which holds back little, has slots %v", got)
	}
	c.mu.Lock()
	log := c.agents["n2"].log.String()
	c.mu.Unlock()
	if n := strings.Count(log, "slot released"); n != 2 || !strings.Contains(log, "healer node rebuild n1") {
		t.Errorf("%d releases are told of", n)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	(&returns{cluster: c}).refused("rejoin_slot_missing")
}
