package rescue

import "strings"

// A table without a key is a bag: equal rows may stand side by side, and which of
// them is meant makes no difference. F's UPDATE or DELETE takes one row that is
// equal to the old row in all columns, as PostgreSQL's apply worker does. There is
// no last update to win: a row that another node has changed is another row.

// wholeRow is the condition for one row that equals the old one. The text decides,
// as it does on the way: it knows NULL from the empty string, every column has
// one, and no two values share it. The equalities before it are what an index can
// serve.
func (c *change) wholeRow(s *statement) string {
	conds := make([]string, 0, len(c.b.key)+1)
	mine, theirs := make([]string, len(c.b.key)), make([]string, len(c.b.key))
	for i, k := range c.b.key {
		at := c.b.keyAt[i]
		col, p := "m."+quoteIdent(k.name), s.param(true, at)+"::"+k.typ
		mine[i], theirs[i] = col, p
		switch {
		case c.old[at].kind == datumNull:
			conds = append(conds, col+" IS NULL")
		case k.equals != "":
			conds = append(conds, col+" "+k.equals+" "+p)
		}
	}
	conds = append(conds, "ROW("+strings.Join(mine, ", ")+")::text = (SELECT ROW("+strings.Join(theirs, ", ")+")::text)")
	// In a partitioned table a position is one of a partition.
	row, at := "m.ctid", "t.ctid"
	if c.b.tab.partitioned {
		row, at = "m.tableoid, m.ctid", "(t.tableoid, t.ctid)"
	}
	return at + " = (SELECT " + row + " FROM " + c.b.tab.only() + " AS m WHERE " + strings.Join(conds, " AND ") + " LIMIT 1)"
}
