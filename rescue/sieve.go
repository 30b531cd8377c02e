package rescue

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Sieve evaluates the conditions by which F sends some rows of a table to T and others
// not, where the source's log has all: of a new row as it is then, of a deleted one by what
// the log has of it, as pglogical does. A condition that is NULL does not hold.
type Sieve struct {
	node    string
	conn    *pgconn.PgConn
	filters map[topology.TableName]string
	built   map[string]*pgconn.StatementDescription
}

// NewSieve makes one of the tables' conditions, SQL over unqualified columns. The
// connection to the node on which they are evaluated belongs to it from then on.
func NewSieve(ctx context.Context, node string, conn *pgconn.PgConn, filters map[topology.TableName]string) (*Sieve, error) {
	s := &Sieve{node: node, conn: conn, filters: filters, built: map[string]*pgconn.StatementDescription{}}
	return s, configure(ctx, conn, textSettings())
}

// Close ends its connection; it may be nil.
func (s *Sieve) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	return s.conn.Close(ctx)
}

// passes reports whether the change is T's business.
func (s *Sieve) passes(ctx context.Context, c *change) (bool, error) {
	if s == nil {
		return true, nil
	}
	filter, ok := s.filters[c.b.rel.table]
	if !ok {
		return true, nil
	}
	row := c.new
	if row == nil {
		row = c.old
	}
	params := make([][]byte, len(row))
	for i, d := range row {
		switch d.kind {
		case datumText:
			params[i] = append([]byte{}, d.text...)
		case datumUnchanged:
			if name := c.b.rel.columns[i].name; strings.Contains(filter, name) {
				return false, s.fault(c, filter, fmt.Errorf("the log does not have the unchanged value of column %q", name))
			}
		}
	}
	desc, err := s.statement(ctx, c, filter)
	if err != nil {
		return false, s.fault(c, filter, err)
	}
	res := s.conn.ExecStatement(ctx, desc, params, nil, nil).Read()
	if res.Err != nil {
		return false, s.fault(c, filter, res.Err)
	}
	return isTrue(res.Rows[0][0]), nil
}

// statement prepares the condition, over the columns that the stream has of the table.
func (s *Sieve) statement(ctx context.Context, c *change, filter string) (*pgconn.StatementDescription, error) {
	columns := make([]string, len(c.b.columns))
	for i, col := range c.b.columns {
		columns[i] = "$" + strconv.Itoa(i+1) + "::" + col.typ + " AS " + quoteIdent(col.name)
	}
	sql := "SELECT coalesce((" + filter + "), false) FROM (SELECT " + strings.Join(columns, ", ") + ") AS " + quoteIdent(c.b.rel.table.Name)
	if desc, ok := s.built[sql]; ok {
		return desc, nil
	}
	desc, err := s.conn.Prepare(ctx, "healer_sift_"+strconv.Itoa(len(s.built)), sql, nil)
	if err == nil {
		s.built[sql] = desc
	}
	return desc, err
}

// fault stops the replay: whether the row is T's is not known. Errors of the connection
// pass, to be tried again.
func (s *Sieve) fault(c *change, filter string, err error) error {
	if s.conn.IsClosed() {
		return fmt.Errorf("row filter on %s: %w", s.node, err)
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "filter_failed", Node: s.node,
		Hint: "make the filter one that says yes or no of every row, on " + s.node + ", then run the recovery again",
		Err:  fmt.Errorf("table %s: the row filter %s cannot be applied: %w", c.b.rel.table, filter, err),
	}
}
