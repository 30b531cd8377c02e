package keeper_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"healer/keeper"
	"healer/topology"
)

func TestReleases(t *testing.T) {
	own := func(name string) bool { return strings.HasPrefix(name, "healer_") }
	slots := []topology.Slot{
		{Name: "recovery_n1", Kind: topology.SlotRecovery, To: "n1", RetainedBytes: 200},
		{Name: "seed_n1", Kind: topology.SlotSeed, To: "n1", RetainedBytes: 200},
		{Name: "small_n1", Kind: topology.SlotRecovery, To: "n1", RetainedBytes: 99},
		{Name: "used_n1", Kind: topology.SlotRecovery, To: "n1", RetainedBytes: 200, Active: true},
		{Name: "mesh_n1", Kind: topology.SlotMesh, To: "n1", RetainedBytes: 200},
		{Name: "healer_mesh_n1", Kind: topology.SlotMesh, To: "n1", RetainedBytes: 200},
		{Name: "clone_n1", Kind: topology.SlotClone, To: "n1", Origin: "n2", RetainedBytes: 200},
		{Name: "recovery_n2", Kind: topology.SlotRecovery, To: "n2", RetainedBytes: 200},
		{Name: "foreign", Kind: topology.SlotForeign, RetainedBytes: 200},
	}
	limits := keeper.GuardLimits{MaxBytes: 100, After: time.Hour}
	lost := keeper.Absence{For: map[string]time.Duration{"n1": 2 * time.Hour}, Majority: true}
	for name, tc := range map[string]struct {
		limits func(*keeper.GuardLimits)
		lost   func(*keeper.Absence)
		want   []string
	}{
		"what is Healer's":    {nil, nil, []string{"healer_mesh_n1", "recovery_n1", "seed_n1"}},
		"the policy names it": {func(l *keeper.GuardLimits) { l.Mesh = true }, nil, []string{"healer_mesh_n1", "mesh_n1", "recovery_n1", "seed_n1"}},
		"no limit":            {func(l *keeper.GuardLimits) { l.MaxBytes = 0 }, nil, nil},
		"too soon":            {func(l *keeper.GuardLimits) { l.After = 3 * time.Hour }, nil, nil},
		"no majority":         {nil, func(a *keeper.Absence) { a.Majority = false }, nil},
		"nobody is lost":      {nil, func(a *keeper.Absence) { a.For = nil }, nil},
	} {
		l, a := limits, lost
		if tc.limits != nil {
			tc.limits(&l)
		}
		if tc.lost != nil {
			tc.lost(&a)
		}
		var got []string
		for _, r := range keeper.Releases(l, a, slots, own) {
			got = append(got, r.Slot.Name)
			if !strings.Contains(r.Why, "n1") {
				t.Errorf("%s: why %q", name, r.Why)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// Whatever there is, what is released is for a lost node, idle, large and owned.
func TestReleasesOnlyWhatItMay(t *testing.T) {
	nodes := []string{"", "n1", "n2", "n3"}
	kinds := []topology.SlotKind{topology.SlotMesh, topology.SlotRecovery, topology.SlotSeed, topology.SlotClone, topology.SlotForeign}
	rapid.Check(t, func(t *rapid.T) {
		limits := keeper.GuardLimits{
			MaxBytes: rapid.Int64Range(0, 10).Draw(t, "max"), After: time.Duration(rapid.IntRange(0, 5).Draw(t, "after")),
			Mesh: rapid.Bool().Draw(t, "mesh"),
		}
		a := keeper.Absence{For: map[string]time.Duration{}, Majority: rapid.Bool().Draw(t, "majority")}
		for _, n := range nodes[1:] {
			if rapid.Bool().Draw(t, n) {
				a.For[n] = time.Duration(rapid.IntRange(0, 5).Draw(t, "lost"))
			}
		}
		slots := rapid.SliceOf(rapid.Custom(func(t *rapid.T) topology.Slot {
			return topology.Slot{
				Name: rapid.StringMatching(`[ab][0-9]{4}`).Draw(t, "name"), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
				To: rapid.SampledFrom(nodes).Draw(t, "to"), Active: rapid.Bool().Draw(t, "active"), RetainedBytes: rapid.Int64Range(0, 10).Draw(t, "bytes"),
			}
		})).Draw(t, "slots")
		own := func(name string) bool { return name[0] == 'a' }
		for _, r := range keeper.Releases(limits, a, slots, own) {
			s := r.Slot
			lost, is := a.For[s.To]
			if !a.Majority || limits.MaxBytes == 0 || !is || lost < limits.After || s.Active || s.RetainedBytes < limits.MaxBytes ||
				s.Kind == topology.SlotForeign || s.Kind == topology.SlotClone || (s.Kind == topology.SlotMesh && !limits.Mesh && !own(s.Name)) {
				t.Fatalf("released %+v under %+v, %+v", s, limits, a)
			}
		}
	})
}
