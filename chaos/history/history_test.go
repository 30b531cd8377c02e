package history_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/chaos/history"
)

// TestLines: what goes out comes in again.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-zA-Z0-9 "'/\\ -]{0,8}`)
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) history.Transaction {
			x := history.Transaction{
				Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"), Client: rapid.IntRange(0, 9).Draw(t, "client"),
				Sequence: rapid.Int64Range(1, 1<<40).Draw(t, "sequence"), Began: time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "began")),
				Outcome: rapid.SampledFrom([]history.Outcome{history.Committed, history.Failed, history.Unknown}).Draw(t, "outcome"),
				Error:   word.Draw(t, "error"), Kind: word.Draw(t, "kind"), Entries: rapid.IntRange(0, 5).Draw(t, "entries"),
			}
			x.ID = history.TransactionID(x.Node, x.Client, x.Sequence)
			x.Ended = x.Began + time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "took"))
			for range rapid.IntRange(0, 3).Draw(t, "operations") {
				x.Operations = append(x.Operations, history.Operation{
					Kind:  rapid.SampledFrom([]history.OperationKind{history.Insert, history.Read, history.Truncate}).Draw(t, "op"),
					Table: word.Draw(t, "table"), Key: word.Draw(t, "key"), Value: word.Draw(t, "value"), Collides: word.Draw(t, "over"),
				})
			}
			return x
		}), 0, 10).Draw(t, "all")
		var b bytes.Buffer
		if err := history.Encode(&b, all); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(b.String(), "\n"); lines != len(all) {
			t.Errorf("%d lines for %d transactions", lines, len(all))
		}
		got, err := history.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(all) || len(all) > 0 && !cmp.Equal(got, all) {
			t.Error(cmp.Diff(all, got))
		}
	})
}

// TestBadLines: what is no transaction is named.
func TestBadLines(t *testing.T) {
	const good = `{"id":"n1/0/1","node":"n1","client":0,"sequence":1,"began":1,"ended":2,"outcome":"committed","kind":"k"}` + "\n"
	for line, want := range map[string]string{
		`{"id":"n1/0/2","node":"n1","outcome":"done"}`:                            `outcome "done": want committed, failed or unknown`,
		`{"id":"n1/0/2","node":"n1","outcome":"failed","began":2,"ended":1}`:      "before it began",
		`{"node":"n1","outcome":"failed"}`:                                        "no id",
		`{"id":"n1/0/2","node":"n1","outcome":"failed","colour":"red"}`:           `unknown field "colour"`,
		`{"id":"n1/0/2","node":"n1","outcome":"committed","kind":"k","ended":1}{`: "transaction 3",
	} {
		_, err := history.Decode(strings.NewReader(good + line))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), " of the history") {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
