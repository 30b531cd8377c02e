package scenario

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Majors are the major versions of PostgreSQL that the nodes of a cluster have: one of
// all, or one for each. None is the newest that is found.
type Majors []int

// Mixed stands for a version for each node, drawn from the seed.
const Mixed = math.MinInt

// mixed is what Mixed is called in a file.
const mixed = "mixed"

func supported() []int { return []int{16, 17, 18} }

// mix draws a version for each node, never the same for all.
func mix(seed uint64, nodes int, among []int) Majors {
	dice := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // dice
	for {
		m := make(Majors, nodes)
		for i := range m {
			m[i] = among[dice.IntN(len(among))]
		}
		if slices.Min(m) < slices.Max(m) {
			return m
		}
	}
}

// drawn draws the versions of a seed that has come to one of the drawing's.
func (d Drawing) drawn(seed uint64, nodes, major int) Majors {
	switch major {
	case 0:
		return nil
	case Mixed:
		var among []int
		for _, m := range d.Majors {
			if m > 0 && !slices.Contains(among, m) {
				among = append(among, m)
			}
		}
		if len(among) < 2 {
			among = supported()
		}
		return mix(seed, nodes, among)
	}
	return Majors{major}
}

const useMajors = "use 16, 17 or 18, a list with one for each node, or mixed; or leave it out for the newest that is installed"

// complete draws what is left to the seed, and checks the rest.
func (m *Majors) complete(seed uint64, nodes int) error {
	switch {
	case slices.Equal(*m, Majors{Mixed}):
		*m = mix(seed, nodes, supported())
	case slices.Equal(*m, Majors{0}):
		*m = nil
	case len(*m) > 1 && len(*m) != nodes:
		return fmt.Errorf("pg has %d versions: give one for all nodes, or one for each of the %d", len(*m), nodes)
	}
	for _, major := range *m {
		if !slices.Contains(supported(), major) {
			return fmt.Errorf("pg %d: %s", major, useMajors)
		}
	}
	return nil
}
