package rescue

import (
	"strconv"
	"strings"
)

// joinKeys is the FROM clause that joins a table t to a set of keys k, given as
// one text[] parameter for each key column; k.i numbers them from 1. Values are
// cast one by one, so that columns of any type, arrays among them, can be keys.
func joinKeys(t *table, key []keyColumn) string {
	var args, names, on []string
	for i, c := range key {
		n := strconv.Itoa(i + 1)
		args = append(args, "$"+n+"::text[]")
		names = append(names, "k"+n)
		on = append(on, "t."+quoteIdent(c.name)+" "+c.equals+" k.k"+n+"::"+c.typ)
	}
	// Unqualified: only so does PostgreSQL take several arrays side by side.
	return "unnest(" + strings.Join(args, ", ") + ") WITH ORDINALITY AS k(" +
		strings.Join(names, ", ") + ", i) JOIN " + t.only() + " AS t ON " + strings.Join(on, " AND ")
}

// keyArrays are the parameters of joinKeys.
func keyArrays(keys []Key) [][]byte {
	if len(keys) == 0 {
		return nil
	}
	out := make([][]byte, len(keys[0]))
	column := make([]string, len(keys))
	for c := range out {
		for i, k := range keys {
			column[i] = k[c]
		}
		out[c] = textArray(column)
	}
	return out
}
