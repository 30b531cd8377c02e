package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"healer/postgres"
	"healer/topology"
)

// Plugged is a Dialect whose logs an output plugin of its own decodes, by the sets
// themselves: pgoutput says nothing of origins there. It knows the progress of a
// subscription better than its origin does.
type Plugged interface {
	Dialect

	// Plugin is the output plugin's name.
	Plugin() string
	// Reading is a query for what Format has to know of a node: a JSON value.
	Reading() string
	// Format reads a stream of the node's log, the changes of the tables in those sets.
	Format(reading []byte, sets []string) (Format, error)
	// Counting is a query for how many transactions with changes slot $1 has behind it,
	// decoded with the options $2, that are of the origin named $3 and behind $4 there;
	// CountOptions are the options for those sets.
	Counting() string
	CountOptions(reading []byte, sets []string) ([]string, error)
	// Adopts is the name of a slot that the engine keeps for recoveries itself, from which
	// a seed may be copied.
	Adopts(database string) string

	// Progress is a query for what the node has applied under the origin named $1: a JSON
	// position. With $2 what it says is on disk.
	Progress() string
	// Settle is a query that moves the origin of the subscription $1, which is disabled, to
	// what has been applied: a JSON boolean, whether it did.
	Settle() string
	// Halt ends the worker of a disabled subscription; it must not stand in a transaction.
	Halt(name string) string
	// Discarded is a query for the newest commit timestamp of the transactions that the
	// subscription $1 took for applied without applying them: a JSON number, microseconds
	// since 1970; 0 when there is none.
	Discarded() string

	// Survey is a query for what Survey's findings are made of: a JSON value.
	Survey() string
	Surveyed(answer []byte) ([]topology.Finding, error)
}

// Format is another language than pgoutput's, for one stream.
type Format interface {
	// Options are those of START_REPLICATION.
	Options() []string
	// Translate hands to emit the messages of pgoutput that say the same.
	Translate(message []byte, emit func(pgoutput []byte) error) error
}

// plugged is nil for a dialect whose logs pgoutput decodes.
func (t tongue) plugged() Plugged {
	p, _ := t.Dialect.(Plugged)
	return p
}

// plugin is the output plugin of recovery slots.
func (t tongue) plugin() string {
	if p := t.plugged(); p != nil {
		return p.Plugin()
	}
	return plugin
}

// progress is what a node has applied under an origin.
func (t tongue) progress(ctx context.Context, s *postgres.Server, origin string, flush bool) (topology.LSN, error) {
	p := t.plugged()
	if p == nil {
		return s.Progress(ctx, origin, flush)
	}
	var lsn topology.LSN
	err := s.JSON(ctx, &lsn, p.Progress(), origin, flush)
	return lsn, err
}

// settle moves the origin of a disabled subscription to what has been applied, durably:
// who sets the origin up from now on begins there.
func (t tongue) settle(ctx context.Context, s *postgres.Server, id uint32) error {
	p := t.plugged()
	if p == nil {
		return nil
	}
	var moved bool
	if err := s.JSON(ctx, &moved, p.Settle(), int64(id)); err != nil || !moved {
		return err
	}
	_, err := s.Flush(ctx)
	return err
}

// reading asks a node what has to be known to read its log.
func (t tongue) reading(ctx context.Context, s *postgres.Server) ([]byte, error) {
	var raw json.RawMessage
	err := s.JSON(ctx, &raw, t.plugged().Reading())
	return raw, err
}

// survey is what only the dialect knows to be missing on a node. What cannot be found
// out is missing too.
func (t tongue) survey(ctx context.Context, s *postgres.Server) []topology.Finding {
	p := t.plugged()
	if p == nil {
		return nil
	}
	var raw json.RawMessage
	err := s.JSON(ctx, &raw, p.Survey())
	var out []topology.Finding
	if err == nil {
		out, err = p.Surveyed(raw)
	}
	switch {
	case err == nil:
	case t.foreign(err):
		out = append(out, t.strange(ctx, s, err))
	default:
		out = append(out, topology.Finding{
			Code: "survey", Blocking: true, Detail: fmt.Sprintf("whether %s can take part cannot be told: %v", p.Name(), err),
			Remedy: "let Healer's role read the extension's schema",
		})
	}
	return out
}

// Format is how a stream of the source's log is read by which the target gets what it
// lacks of the lost node; nil where pgoutput sends it, by Publications.
func (e *Engine) Format(ctx context.Context, source, target, lost string) (Format, error) {
	s, err := e.server(source)
	if err != nil {
		return nil, err
	}
	t, err := e.tongue(ctx, s)
	if err != nil || t.plugged() == nil {
		return nil, err
	}
	_, sub, err := e.reading(ctx, target, lost)
	if err != nil {
		return nil, err
	}
	reading, err := t.reading(ctx, s)
	if err != nil {
		return nil, err
	}
	return t.plugged().Format(reading, sub.Publications)
}

// sets are those of the source by which its log is decoded for the target: those that the
// target asks the lost node for, if they have all the tables here too.
func (e *Engine) sets(ctx context.Context, source, target, lost string) ([]string, error) {
	if err := e.sameSets(ctx, source, target, lost); err != nil {
		return nil, err
	}
	t, from, err := e.reading(ctx, target, lost)
	if err != nil {
		return nil, err
	}
	need, err := e.receives(ctx, t, from, source, lost)
	if err != nil {
		return nil, err
	}
	lines, err := e.sends(ctx, source, from.Publications)
	if err != nil {
		return nil, err
	}
	if out := missing(lines, need, anyShape); len(out) > 0 {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "no_publication", Node: source,
			Hint: "add the table to the same replication set on every node; what was written before that cannot be decoded",
			Err:  fmt.Errorf("none of the sets %q of %s has table %v, which %s receives from %s", from.Publications, source, out[0], target, lost),
		}
	}
	return from.Publications, nil
}

// countPlugged is CountForeign where pgoutput does not decode.
func (t tongue) countPlugged(ctx context.Context, s *postgres.Server, slot string, sub topology.Subscription, from topology.LSN) (int64, error) {
	reading, err := t.reading(ctx, s)
	if err != nil {
		return 0, err
	}
	options, err := t.plugged().CountOptions(reading, sub.Publications)
	if err != nil {
		return 0, err
	}
	var count int64
	err = s.Slow(ctx, t.plugged().Counting(), []any{slot, options, sub.Origin, from.String()}, &count)
	return count, err
}
