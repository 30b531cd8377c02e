package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Encode writes the transactions as JSON lines.
func Encode(w io.Writer, all []Transaction) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, t := range all {
		if err := enc.Encode(t); err != nil {
			return fmt.Errorf("transaction %s: %w", t.ID, err)
		}
	}
	return b.Flush()
}

// Decode reads what Encode wrote. Its errors name the transaction's number, from 1 on.
func Decode(r io.Reader) ([]Transaction, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var all []Transaction
	for {
		var t Transaction
		err := dec.Decode(&t)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err == nil {
			err = t.valid()
		}
		if err != nil {
			return nil, fmt.Errorf("transaction %d of the history: %w", len(all)+1, err)
		}
		all = append(all, t)
	}
}

func (t Transaction) valid() error {
	switch {
	case t.ID == "" || t.Node == "":
		return errors.New("it has no id or no node")
	case t.Outcome != Committed && t.Outcome != Failed && t.Outcome != Unknown:
		return fmt.Errorf("%s: outcome %q: want committed, failed or unknown", t.ID, t.Outcome)
	case t.Ended < t.Began:
		return fmt.Errorf("%s: it ended at %s, before it began at %s", t.ID, t.Ended, t.Began)
	}
	return nil
}
