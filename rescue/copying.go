package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Long runs of inserted rows go to T by COPY, which costs it two thirds of what a
// statement of a program does. A call is then one query string of many statements,
// and the rows of all its COPYs follow it at once: the server takes them in their
// turn. Any error ends the string, as it ends a program, and what still comes of
// the rows is passed over; see "COPY Operations" in PostgreSQL's description of the
// message flow.

const (
	// copyFrom is from how many rows on a run is worth a COPY.
	copyFrom = 64
	// copyRows is how many rows a COPY takes, unless there are more than
	// copyMany. The server keeps a slot for each of the first thousand, and finds
	// it among the others by steps that grow with their number: a COPY of a
	// thousand rows takes it twice the time of five.
	copyRows = 200
	copyMany = 5000
	// copyBuffer is how much of the rows goes into one message.
	copyBuffer = 64 << 10
)

// copied is a COPY of a batch: its rows are in the batch's copies.
type copied struct {
	shape    *shape
	from, to int
}

// copies reports whether everything that is gathered of the transaction can go by
// COPY.
func (t *runs) copies() bool {
	for i := range t.runs {
		if r := &t.runs[i]; !r.shape.copies || r.count < copyFrom {
			return false
		}
	}
	return len(t.runs) > 0
}

// copyRuns makes COPYs of what is gathered of the transaction.
func (b *batch) copyRuns() {
	for i := range b.tx.runs {
		r := &b.tx.runs[i]
		most := r.count
		if most <= copyMany {
			most = copyRows
		}
		for rest := r.values; len(rest) > 0; {
			from := len(b.copies)
			b.copies, rest = appendCopy(b.copies, rest, len(r.shape.params), most)
			b.copied = append(b.copied, copied{shape: r.shape, from: from, to: len(b.copies)})
		}
	}
	b.tx.reset()
}

// appendCopy turns elements of an array into so many rows of COPY's text format,
// and returns those that are left.
func appendCopy(out, elements []byte, width, most int) (all, rest []byte) {
	for column := 1; len(elements) > 0 && most > 0; column++ {
		if elements[0] == '"' {
			out, elements = appendCopyValue(out, elements[1:])
		} else { // NULL
			out, elements = append(out, `\N`...), elements[len("NULL"):]
		}
		if column < width {
			out = append(out, '\t')
		} else {
			out, column = append(out, '\n'), 0
			most--
		}
		if len(elements) > 0 {
			elements = elements[1:] // the comma
		}
	}
	return out, elements
}

// appendCopyValue takes an element up to its closing quote.
func appendCopyValue(out, text []byte) (row, rest []byte) {
	for i := 0; ; i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[:i]...)
		switch c {
		case '"':
			return out, text[i+1:]
		case '\\': // of the element; COPY doubles one that is of the value
			i++
			if text[i] == '\\' {
				out = append(out, '\\')
			}
			out = append(out, text[i])
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			out = append(out, c)
		}
		text, i = text[i+1:], -1
	}
}

// copySQL renders the COPY of a shape.
func (s *shape) copySQL() string {
	names := make([]string, len(s.params))
	for i, p := range s.params {
		names[i] = quoteIdent(s.b.columns[p.at].name)
	}
	return "COPY " + s.b.tab.sql() + " (" + strings.Join(names, ", ") + ") FROM STDIN"
}

// copySQL renders the query string of a batch.
func (b *batch) copySQL(part, begin bool) string {
	sql := &strings.Builder{}
	all := func(list []copied) {
		for _, c := range list {
			sql.WriteString(c.shape.copySQL() + ";\n")
		}
	}
	if part {
		if begin {
			sql.WriteString("BEGIN;\n")
		}
		sql.WriteString("SAVEPOINT healer;\n")
		all(b.copied)
		sql.WriteString("RELEASE healer")
		return sql.String()
	}
	first := 0
	for _, t := range b.commits {
		sql.WriteString("BEGIN;\n")
		all(b.copied[first:t.copied])
		fmt.Fprintf(sql, "SELECT pg_catalog.pg_replication_origin_xact_setup('%s', '%s');\nCOMMIT;\n", t.lsn, timestamp(t.at))
		first = t.copied
	}
	return sql.String()
}

// runCopies makes a call by COPY. It alone uses the connection until it has
// returned.
func (c *calls) runCopies(ctx context.Context, f *call, begin bool) error {
	err := c.sendCopies(ctx, f.b, f.b.copySQL(f.part, begin))
	if err == nil {
		err = c.answered(ctx)
	}
	var pg *pgconn.PgError
	switch {
	case err == nil || f.part:
	case errors.As(err, &pg):
		// The transaction that failed is still open.
		err = errors.Join(err, c.s.conn.Exec(ctx, "ROLLBACK").Close())
	}
	return err
}

// sendCopies sends the query and all rows without a wait for the server, which
// says nothing but a word for each statement before it has read them.
func (c *calls) sendCopies(ctx context.Context, b *batch, sql string) error {
	conn := c.s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetWriteDeadline(time.Now()) })
	defer stop()
	front := conn.Frontend()
	front.SendQuery(&pgproto3.Query{String: sql})
	for _, part := range b.copied {
		for rows := range slices.Chunk(b.copies[part.from:part.to], copyBuffer) {
			front.Send(&pgproto3.CopyData{Data: rows})
		}
		front.Send(&pgproto3.CopyDone{})
	}
	if err := front.Flush(); err != nil {
		return errors.Join(context.Cause(ctx), err, conn.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

// answered reads what the server says up to the end of the query.
func (c *calls) answered(ctx context.Context) error {
	var failed error
	for {
		msg, err := c.s.conn.ReceiveMessage(ctx)
		if err != nil {
			return errors.Join(failed, err, c.s.conn.Close(context.WithoutCancel(ctx)))
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.ReadyForQuery:
			return failed
		}
	}
}
