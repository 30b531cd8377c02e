package compare

import (
	"fmt"
	"math/big"
	"strconv"
)

// sum stands for a set of rows: how many they are, and the sums, modulo 2^64, of
// the two halves of each row's 128-bit hash. It does not depend on the order of the
// rows, and sums of parts add up to the sum of the whole. Unlike under XOR, a row
// that is there twice is not the same as one that is not there.
type sum struct {
	rows   int64
	hi, lo uint64
}

func (s sum) add(o sum) sum { return sum{s.rows + o.rows, s.hi + o.hi, s.lo + o.lo} }

// alike reports whether all nodes have the same rows.
func alike(sums []sum) bool {
	for _, s := range sums[1:] {
		if s != sums[0] {
			return false
		}
	}
	return true
}

// most returns the index of the node with the most rows, and how many.
func most(sums []sum) (at int, rows int64) {
	for i, s := range sums {
		if s.rows > sums[at].rows {
			at = i
		}
	}
	return at, sums[at].rows
}

// fewest is how many rows the node with the fewest has.
func fewest(sums []sum) int64 {
	n := sums[0].rows
	for _, s := range sums {
		n = min(n, s.rows)
	}
	return n
}

// parseSum reads the three columns of a sum; the sum of no rows is NULL.
func parseSum(rows, hi, lo []byte) (sum, error) {
	n, err := strconv.ParseInt(string(rows), 10, 64)
	if err != nil {
		return sum{}, fmt.Errorf("number of rows: %w", err)
	}
	h, err := modulo(hi)
	if err != nil {
		return sum{}, err
	}
	l, err := modulo(lo)
	return sum{rows: n, hi: h, lo: l}, err
}

func modulo(text []byte) (uint64, error) {
	if text == nil {
		return 0, nil
	}
	v, ok := new(big.Int).SetString(string(text), 10)
	if !ok {
		return 0, fmt.Errorf("sum of hashes %q is no number", text)
	}
	// Two's complement: And treats a negative number as if it were infinitely long.
	return v.And(v, new(big.Int).SetUint64(1<<64-1)).Uint64(), nil
}
