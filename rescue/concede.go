package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"healer/topology"
)

// Concession is a row of the gap that the survivors which have it are to give up,
// because it keeps their workers from applying another row of the laggard.
type Concession struct {
	table   topology.TableName
	columns []string
	key     Key
	// write is F's; wins says that the row is to come back, else it goes for the one
	// with the stamp to.
	write, to stamp
	wins      bool
	// update is set when there was a row before, which is to be there again.
	update bool
}

func (r *replay) concession(s *Session, c *clash) Concession {
	write := stamp{at: c.op.at, author: r.gap.Origin}
	return Concession{
		table: c.op.b.rel.table, columns: c.op.b.keyColumns(), key: c.row(), write: write, to: c.other.by,
		wins:   s.target.Conflicts.wins(write, c.other.by),
		update: c.op.kind == msgUpdate && c.op.to == nil,
	}
}

// String names the row.
func (c Concession) String() string { return fmt.Sprintf("%s%q", c.table, []string(c.key)) }

// Concede takes a row of the gap from the survivors that have it: it deletes the row,
// or puts back the laggard's, under an origin that the mesh does not forward. It
// reports false, and does nothing, when a survivor has another version than the
// gap's: that one may exist nowhere else.
//
// The deletion has the commit timestamp of F's write when the row is to come back.
// So the source's log shows a deletion that does not win against the row, however
// often the recovery breaks off in between.
func Concede(ctx context.Context, peers []Peer, laggard string, c Concession) (done bool, err error) {
	v := &verifier{touched: newTouched(), policy: Policy{}.complete()}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	if err := v.join(ctx, peers); err != nil {
		return false, err
	}
	t, err := v.open(ctx, c.table, c.columns)
	if err != nil {
		return false, err
	}
	s := &suspect{table: t, key: c.key, touch: &touch{}}
	if err := v.read(ctx, t, []*suspect{s}); err != nil {
		return false, err
	}
	for i, name := range t.names {
		if have := s.versions[i]; name != laggard && have.present && have.stamp != c.write {
			return false, nil
		}
	}
	d, values, err := c.verdict(ctx, s, slices.Index(t.names, laggard))
	if err != nil {
		return false, err
	}
	for i, name := range t.names {
		if name == laggard || !s.versions[i].present {
			continue
		}
		if ok, err := t.on[i].write(ctx, s, s.versions[i], d, values); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// verdict says what takes the row's place.
func (c Concession) verdict(ctx context.Context, s *suspect, at int) (verdict, [][]byte, error) {
	switch {
	case c.wins:
		return verdict{winner: -1, by: c.write}, nil, nil
	case !c.update || at < 0 || !s.versions[at].present:
		return verdict{winner: -1, by: c.to}, nil, nil
	}
	values, err := s.table.on[at].row(ctx, s.table.columns, s.key, s.versions[at].xmin)
	if err == nil && values == nil {
		err = &topology.Fault{
			Class: topology.Transient, Code: "unsettled", Node: s.table.names[at],
			Err: errors.New("row " + c.String() + " is being written: " + strings.Join(s.table.names, ", ")),
		}
	}
	return verdict{winner: at, by: s.versions[at].stamp}, values, err
}
