package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"healer/events"
)

// Told is a Recorder that has every entry published as well, so that any agent
// can tell of the run. What the local one records comes first.
type Told struct {
	Local     Recorder
	Publisher events.Publisher
	Cluster   string
}

// Record implements Recorder.
func (t Told) Record(entries ...Entry) error {
	errs := []error{t.Local.Record(entries...)}
	for _, e := range entries {
		ev, err := entryEvent(t.Cluster, e)
		if err == nil {
			err = t.Publisher.Publish(ev)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// entryEvent is the event of an entry. One that is too large tells of fewer
// conflicts, and at last without the plan: the local journal has it whole.
func entryEvent(cluster string, e Entry) (events.Event, error) {
	f := events.Fact{
		Cluster: cluster, Kind: events.JournalEntry, Node: e.Node, Incarnation: e.Incarnation, Recovery: e.Recovery,
		Detail: []string{e.Run, strconv.Itoa(e.Seq)},
	}
	const room = events.MaxBytes - 4<<10 // for what is around it
	for {
		b, err := json.Marshal(e)
		if err != nil {
			return events.Event{}, fmt.Errorf("journal entry: %w", err)
		}
		if len(b) <= room {
			return events.New(f, e.Agent, e.At, json.RawMessage(b))
		}
		switch {
		case e.Conflicts != nil && len(e.Conflicts.Rows) > 0:
			less := e.Conflicts.First(len(e.Conflicts.Rows) / 2)
			e.Conflicts = &less
		case e.Conflicts != nil:
			e.Conflicts = nil
		case e.Plan != nil && len(e.Plan.Steps) > 0:
			p := *e.Plan
			p.Steps = nil
			e.Plan = &p
		case e.Plan != nil:
			e.Plan = nil
		default:
			return events.Event{}, fmt.Errorf("journal entry %d of run %s has %d bytes", e.Seq, e.Run, len(b))
		}
	}
}

// EntryFrom reads an entry out of its event.
func EntryFrom(e events.Event) (Entry, error) {
	var entry Entry
	if e.Kind() != events.JournalEntry {
		return entry, fmt.Errorf("event %s is no entry of a journal", e.Kind())
	}
	if err := json.Unmarshal(e.Data, &entry); err != nil {
		return entry, fmt.Errorf("data of event %s: %w", e.ID, err)
	}
	return entry, nil
}
