package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/chaos/history"
)

// byKey are a table's rows.
func byKey(rows []history.Row) map[string]history.Row {
	out := make(map[string]history.Row, len(rows))
	for _, r := range rows {
		out[r.Key] = r
	}
	return out
}

// tables are all that any survivor has, or any client wrote.
func (f *facts) tables() []string {
	all := map[string]bool{}
	for _, s := range f.Servers {
		for t := range s.Tables {
			all[t] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// equal: every row is the same on all survivors, with its commit timestamp; one that is
// deleted on one is deleted on all.
func equal(f *facts) (found []string) {
	if len(f.Servers) == 0 {
		return nil
	}
	first := f.Servers[0]
	for _, table := range f.tables() {
		want := byKey(first.Tables[table])
		for _, s := range f.Servers[1:] {
			got := byKey(s.Tables[table])
			keys := map[string]bool{}
			for k := range want {
				keys[k] = true
			}
			for k := range got {
				keys[k] = true
			}
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				a, onA := want[k]
				b, onB := got[k]
				if f.excused(origin(a.Transaction)) || f.excused(origin(b.Transaction)) || same(a, onA, b, onB) {
					continue
				}
				found = append(found, fmt.Sprintf("row %s of %s: %s has %s, %s has %s", k, table, first.Node, text(a, onA), s.Node, text(b, onB)))
			}
		}
	}
	return found
}

// same compares two versions of a row; a server may have forgotten the time.
func same(a history.Row, onA bool, b history.Row, onB bool) bool {
	return onA == onB && a.Value == b.Value && (a.At == b.At || a.At == 0 || b.At == 0)
}

// text shows a row without what is wide in it.
func text(r history.Row, there bool) string {
	if !there {
		return "none"
	}
	v := r.Value
	if len(v) > 60 {
		v = v[:60] + "..."
	}
	if r.At != 0 {
		v += " of " + time.UnixMicro(r.At).UTC().Format("15:04:05.000000")
	}
	return v
}

// write is what a received transaction did to a row.
type write struct {
	transaction history.Transaction
	deletes     bool
	wide        bool
	ended       time.Duration
}

// model is the mesh as last update wins has it: for each row those writes of received
// transactions behind which no other one certainly came.
type model struct {
	writes map[string]map[string][]write
	// truncated has the transactions that emptied a table.
	truncated map[string][]write
}

func (f *facts) model() model {
	m := model{writes: map[string]map[string][]write{}, truncated: map[string][]write{}}
	for _, id := range f.received {
		t, known := f.byID[id]
		if !known {
			continue
		}
		w := write{transaction: t, ended: f.ended(t)}
		for _, o := range t.Operations {
			w.deletes, w.wide = o.Kind == history.Delete || o.Kind == history.Truncate, o.Wide
			switch o.Kind {
			case history.Truncate:
				m.truncated[o.Table] = append(m.truncated[o.Table], w)
			case history.Insert, history.Update, history.Delete:
				if m.writes[o.Table] == nil {
					m.writes[o.Table] = map[string][]write{}
				}
				m.writes[o.Table][o.Key] = append(m.writes[o.Table][o.Key], w)
			case history.Read:
			}
		}
	}
	return m
}

// winners are the writes of a row that may be the last.
func (m model) winners(table, key string) []write {
	var all []write
	all = append(all, m.writes[table][key]...)
	all = append(all, m.truncated[table]...)
	return last(all)
}

// wideners are the writes of a row's large value that may be the last of these.
func (m model) wideners(table, key string) []write {
	return last(slices.DeleteFunc(slices.Clone(m.writes[table][key]), func(w write) bool { return !w.wide }))
}

// last drops the writes behind which another one certainly came.
func last(all []write) []write {
	latest := time.Duration(-1)
	for _, w := range all {
		latest = max(latest, w.transaction.Began)
	}
	return slices.DeleteFunc(all, func(w write) bool { return w.ended < latest })
}

// lastUpdate: every row is what its last write made of it.
func lastUpdate(f *facts) (found []string) {
	m := f.model()
	for _, table := range f.tables() {
		for _, s := range f.Servers {
			rows := byKey(s.Tables[table])
			keys := map[string]bool{}
			for k := range rows {
				keys[k] = true
			}
			for k := range m.writes[table] {
				keys[k] = true
			}
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				row, there := rows[k]
				winners := m.winners(table, k)
				if f.doubtful(m.writes[table][k]) {
					continue
				}
				if !f.wins(winners, row, there) {
					found = append(found, fmt.Sprintf("row %s of %s on %s is %s: want that of %s", k, table, s.Node, text(row, there), names(winners)))
					continue
				}
				if wideners := m.wideners(table, k); row.Wide != "" && !wrote(wideners, row.Wide) {
					found = append(found, fmt.Sprintf("row %s of %s on %s is %s: its large value is that of %s, want that of %s",
						k, table, s.Node, text(row, there), row.Wide, names(wideners)))
				}
			}
		}
	}
	return found
}

// wins reports whether a winner left the row like that.
func (f *facts) wins(winners []write, row history.Row, there bool) bool {
	if len(winners) == 0 {
		return !there
	}
	return slices.ContainsFunc(winners, func(w write) bool {
		return w.deletes && !there || !w.deletes && there && w.transaction.ID == row.Transaction
	})
}

// doubtful rows were written by an origin behind which survivors may stay.
func (f *facts) doubtful(writes []write) bool {
	return slices.ContainsFunc(writes, func(w write) bool { return f.excused(w.transaction.Node) })
}

func wrote(writes []write, id string) bool {
	return slices.ContainsFunc(writes, func(w write) bool { return w.transaction.ID == id })
}

func names(writes []write) string {
	if len(writes) == 0 {
		return "nobody"
	}
	var all []string
	for _, w := range writes {
		name := w.transaction.ID
		if w.deletes {
			name += " (deleted)"
		}
		all = append(all, name)
	}
	return strings.Join(slices.Compact(all), " or ")
}
