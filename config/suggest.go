package config

import (
	"fmt"
	"strings"
)

// unknownRemedy says what to do about an unknown key, and which known one it
// was meant to be, if that can be guessed.
func unknownRemedy(name string, fields []field) (near, remedy string) {
	words := make([]string, 0, len(fields))
	for _, f := range fields {
		words = append(words, f.name)
	}
	if near, ok := nearest(name, words); ok {
		return near, fmt.Sprintf("did you mean %q?", near)
	}
	return "", "remove it; the keys here are " + strings.Join(words, ", ")
}

// nearest returns the word closest to s when it is close enough for a slip of
// the fingers: at most a third of it mistyped, and never all of it.
func nearest(s string, words []string) (string, bool) {
	best, at := "", max(1, len(s)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d < at && d < len(w) {
			best, at = w, d
		}
	}
	return best, best != ""
}

// distance is the number of insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before, prev []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, prev, row = prev, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
