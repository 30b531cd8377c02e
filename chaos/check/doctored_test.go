package check_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/events"
	"healer/topology"
)

// base is the run that is doctored: n1 is lost, and n3 behind it.
func base() check.Run { return perfectRun(&fixed{state: 7}, 3, 12) }

// doctors are the ways to spoil a run, by the names that testdata has.
func doctors() map[string]func(r *check.Run, words []string) {
	return map[string]func(r *check.Run, words []string){
		"forget": func(r *check.Run, w []string) { // transaction, servers
			for _, n := range w[1:] {
				s := server(r, n)
				s.Journal = slices.DeleteFunc(s.Journal, func(e history.Entry) bool { return e.Transaction == w[0] })
			}
		},
		"entry": func(r *check.Run, w []string) { // server, transaction, of, rows, distinct
			e := journal(r, w[0], w[1])
			e.Of, e.Rows, e.Distinct = number(w[2]), number(w[3]), number(w[4])
		},
		"invent": func(r *check.Run, w []string) { // server, transaction
			s := server(r, w[0])
			s.Journal = append(s.Journal, history.Entry{Transaction: w[1], Of: 1, Rows: 1, Distinct: 1, First: 999})
		},
		"outcome": func(r *check.Run, w []string) { // transaction, outcome
			t := transaction(r, w[0])
			t.Outcome, t.Error = history.Outcome(w[1]), "so it is said"
		},
		"swap": func(r *check.Run, w []string) { // server, transaction, transaction
			a, b := journal(r, w[0], w[1]), journal(r, w[0], w[2])
			a.First, b.First = b.First, a.First
		},
		"sum": func(r *check.Run, w []string) { server(r, w[0]).Sums[w[1]] = w[2] }, // server, node, sum
		"misread": func(r *check.Run, w []string) { // transaction, node, sum
			t := transaction(r, w[0])
			for i := range t.Operations {
				if t.Operations[i].Key == w[1] {
					t.Operations[i].Value = w[2]
				}
			}
		},
		"row": func(r *check.Run, w []string) { // table, key, transaction or none, servers
			for _, n := range w[3:] {
				s := server(r, n)
				s.Tables[w[0]] = slices.DeleteFunc(s.Tables[w[0]], func(x history.Row) bool { return x.Key == w[1] })
				if w[2] != "none" {
					s.Tables[w[0]] = append(s.Tables[w[0]], history.Row{Key: w[1], Value: w[1] + "," + w[2], Transaction: w[2]})
				}
			}
		},
		"wide": func(r *check.Run, w []string) { // table, key, transaction, servers
			for _, n := range w[3:] {
				s := server(r, n)
				for i := range s.Tables[w[0]] {
					if x := &s.Tables[w[0]][i]; x.Key == w[1] {
						x.Wide = w[2]
					}
				}
			}
		},
		"narrow": func(r *check.Run, w []string) { // transaction
			t := transaction(r, w[0])
			for i := range t.Operations {
				t.Operations[i].Wide = false
			}
		},
		"stamp": func(r *check.Run, w []string) { // server, table, key, time
			s := server(r, w[0])
			for i := range s.Tables[w[1]] {
				if x := &s.Tables[w[1]][i]; x.Key == w[2] {
					x.At = int64(number(w[3]))
				}
			}
		},
		"progress": func(r *check.Run, w []string) { server(r, w[0]).Progress[w[1]] = topology.LSN(number(w[2])) },
		"left": func(r *check.Run, w []string) { // server, what, name
			l := &server(r, w[0]).Left
			to := map[string]*[]string{
				"slot": &l.Slots, "fence": &l.Fences, "mark": &l.Marks, "disabled": &l.Disabled, "lock": &l.Locks, "prepared": &l.Prepared,
			}[w[1]]
			*to = append(*to, w[2])
		},
		"fault": func(r *check.Run, w []string) { // field, value
			x := &r.Faults[0]
			switch w[0] {
			case "kind":
				x.Kind = w[1]
			case "lost":
				x.Lost = w[1:]
			case "destroys":
				x.Destroys = w[1:]
			case "skewed":
				x.Skewed = w[1:]
			case "spares":
				x.Spares = true
			case "costs_majority":
				x.CostsMajority, x.From = true, 0
			}
		},
		"divide": func(r *check.Run, w []string) { // time: other faults add to it from then on
			next := r.Faults[0]
			r.Faults[0].Until = time.Duration(number(w[0])) * time.Millisecond
			next.From = r.Faults[0].Until + time.Microsecond
			r.Faults = append(r.Faults, next)
		},
		"patience": func(r *check.Run, w []string) { r.Patience = time.Duration(number(w[0])) * time.Millisecond },
		"starve":   func(r *check.Run, _ []string) { r.Length += time.Minute },
		"late": func(r *check.Run, w []string) {
			event(r, w[0]).Time = r.Start.Add(time.Duration(number(w[1])) * time.Millisecond)
		},
		"silence": func(r *check.Run, w []string) { r.Events = slices.DeleteFunc(r.Events, kind(w[0])) },
		"garble":  func(r *check.Run, w []string) { event(r, w[0]).Data = json.RawMessage(strings.Join(w[1:], " ")) },
		"again":   func(r *check.Run, w []string) { r.Events = append(r.Events, *event(r, w[0])) },
		"rename": func(r *check.Run, w []string) { // kind: the same happening under another id
			e := *event(r, w[0])
			e.ID += "x"
			r.Events = append(r.Events, e)
		},
		"forestall": func(r *check.Run, w []string) { // kind, agent: it has told that first, and who did tells more later
			e := event(r, w[0])
			later := *e
			later.ID += "x"
			e.Source = "/healer/app/" + w[1]
			r.Events = append(r.Events, later)
		},
		"postpone": func(r *check.Run, w []string) {
			e := *event(r, w[0])
			r.Events = append(slices.DeleteFunc(r.Events, kind(w[0])), e)
		},
		"refuse": func(r *check.Run, w []string) {
			e := *event(r, "recovery.started")
			e.ID, e.Type, e.Subject = "refused", "healer.v1.recovery.refused", w[0]
			e.Data = json.RawMessage(`{"plan":"recovery","reason":"slot_missing","why":"it is gone","remedy":"rebuild","wait":false}`)
			r.Events = append(r.Events, e)
		},
		"figures": func(r *check.Run, w []string) { // missing, transactions
			for i := range r.Events {
				if e := &r.Events[i]; e.Kind() == events.JournalEntry {
					e.Data = json.RawMessage(strings.NewReplacer(`"missing":6`, `"missing":`+w[0], `"transactions":6`, `"transactions":`+w[1]).Replace(string(e.Data)))
				}
			}
		},
		"carry": func(r *check.Run, w []string) { // run, from, to, missing, transactions: it carries that to n3, behind what was
			e := *event(r, "journal.entry")
			for seq, more := range []string{
				`"event":"begin","plan":{"lanes":[{"target":"n3","from":"1/%s","to":"1/%s"}]}`,
				`"event":"step","step":{"id":"s1","kind":"subscribe","node":"n2","target":"n3"},"state":"done","duration":1,"figures":{"missing":%s,"transactions":%s}`,
			} {
				e.ID = fmt.Sprintf("%s-%d", w[0], seq)
				e.Data = fmt.Appendf(nil, `{"seq":%d,"at":%q,"run":%q,"recovery":"r1","agent":"n2","node":"n1",%s}`,
					seq+1, e.Time.Format(time.RFC3339Nano), w[0], fmt.Sprintf(more, w[2*seq+1], w[2*seq+2]))
				r.Events = append(r.Events, e)
			}
		},
		"hasten": func(r *check.Run, w []string) { // server, peer: its slot passes all while the node is fenced off
			for i := range r.Samples {
				if s := &r.Samples[i]; s.Node == w[0] && len(s.Appliers) == 0 {
					s.Slots[w[1]] = s.End + 1_000_000
				}
			}
		},
		"unfence": func(r *check.Run, w []string) {
			for i := range r.Samples {
				if r.Samples[i].Node == w[0] {
					r.Samples[i].Fences = nil
				}
			}
		},
		"second": func(r *check.Run, w []string) { // server, session: beside the one there is
			for i := range r.Samples {
				if s := &r.Samples[i]; s.Node == w[0] && len(s.Appliers) > 0 {
					s.Appliers = append(s.Appliers, history.Applier{Origin: s.Appliers[0].Origin, Session: w[1]})
				}
			}
		},
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func server(r *check.Run, node string) *history.Server {
	return &r.Servers[slices.IndexFunc(r.Servers, func(s history.Server) bool { return s.Node == node })]
}

func transaction(r *check.Run, id string) *history.Transaction {
	return &r.Transactions[slices.IndexFunc(r.Transactions, func(t history.Transaction) bool { return t.ID == id })]
}

func journal(r *check.Run, node, id string) *history.Entry {
	s := server(r, node)
	return &s.Journal[slices.IndexFunc(s.Journal, func(e history.Entry) bool { return e.Transaction == id })]
}

func kind(k string) func(events.Event) bool {
	return func(e events.Event) bool { return string(e.Kind()) == k }
}

func event(r *check.Run, k string) *events.Event {
	return &r.Events[slices.IndexFunc(r.Events, kind(k))]
}

// TestDoctored: every promise that a run breaks is found, by the checker of that name.
func TestDoctored(t *testing.T) {
	caught := map[string]bool{}
	datadriven.RunTest(t, "testdata/doctored.txt", func(t *testing.T, d *datadriven.TestData) string {
		r := base()
		if d.Cmd == "show" {
			return show(r)
		}
		for line := range strings.Lines(d.Input) {
			w := strings.Fields(line)
			do, ok := doctors()[w[0]]
			if !ok {
				t.Fatalf("%s: there is no doctor %q", d.Pos, w[0])
			}
			do(&r, w[1:])
		}
		var b strings.Builder
		found := check.Check(r)
		for _, v := range found {
			caught[v.Checker] = true
			fmt.Fprintf(&b, "%s: %s\n", v.Checker, v.Detail)
		}
		switch {
		case d.Cmd == "excused" && len(found) > 0, d.Cmd == "spoiled" && len(found) == 0:
			t.Errorf("%s: %s found %v", d.Pos, d.Cmd, found)
		}
		return b.String()
	})
	for _, name := range check.Names() {
		if !caught[name] {
			t.Errorf("no doctored run is caught by the checker %s", name)
		}
	}
}

func show(r check.Run) string {
	var b strings.Builder
	for _, t := range r.Transactions {
		fmt.Fprintf(&b, "%s %s %s %s..%s", t.ID, t.Kind, t.Outcome, t.Began, t.Ended)
		for _, o := range t.Operations {
			if o.Kind != history.Read {
				fmt.Fprintf(&b, " %s:%s/%s", o.Kind, o.Table, o.Key)
			}
		}
		b.WriteString("\n")
	}
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "%s: progress %v, tables", s.Node, s.Progress)
		for _, x := range s.Tables["item"] {
			fmt.Fprintf(&b, " %s=%s", x.Key, x.Transaction)
		}
		b.WriteString("\n")
	}
	return b.String()
}
