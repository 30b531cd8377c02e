package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/topology"
)

// historyTable lists runs.
func (a App) historyTable(cmd *cobra.Command, j journals) error {
	p := &page{styles: styles()}
	if len(j.Runs) == 0 {
		p.line(cell{text: "no agent that answers remembers a recovery"})
	}
	rows := make([][]cell, 0, len(j.Runs))
	for _, r := range j.Runs {
		rows = append(rows, []cell{
			{text: r.ID},
			{text: r.Run},
			{text: r.Kind},
			{text: r.Node},
			{r.State, recoveryTone(r.State)},
			{text: when(r.Started)},
			{text: took(r.Duration)},
			{text: r.Agent},
			{text: fmt.Sprint(r.Transactions)},
			{text: fmt.Sprint(r.Conflicts)},
			{text: fmt.Sprint(r.Repaired)},
		})
	}
	p.table([]string{"ID", "RUN", "RECOVERY", "OF", "STATE", "STARTED", "TOOK", "BY", "TRANSACTIONS", "CONFLICTS", "REPAIRED"}, rows)
	p.silent(j.Agents)
	return p.write(cmd.OutOrStdout(), a.Environ)
}

// recoveryTable shows runs in full, with so many conflicts of each.
func (a App) recoveryTable(cmd *cobra.Command, j journals, most int) error {
	p := &page{styles: styles()}
	for i, r := range j.Runs {
		if i > 0 {
			p.line()
		}
		p.run(r, most)
	}
	p.silent(j.Agents)
	return p.write(cmd.OutOrStdout(), a.Environ)
}

func (p *page) run(r api.Run, most int) {
	p.line(cell{r.Kind + " " + r.ID, title}, cell{r.State, recoveryTone(r.State)})
	p.line(cell{fmt.Sprintf("of %s (life %s), run %s by the agent of %s, %s, %s",
		r.Node, r.Incarnation, r.Run, r.Agent, when(r.Started), took(r.Duration)), faint})
	if r.Source != "" {
		p.line(cell{text: fmt.Sprintf("source %s, survivors %s, watermark %s", r.Source, strings.Join(r.Survivors, ", "), r.Watermark)})
	}
	p.line(cell{text: fmt.Sprintf("%d transactions carried, %d conflicts, %d rows repaired", r.Transactions, r.Conflicts, r.Repaired)})
	if only := r.UnsentText(r.Node); only != "" {
		p.line(cell{text: only})
	}
	if r.Error != "" {
		p.line(cell{r.Error, bad})
	}
	if r.Hint != "" {
		p.line(cell{text: "hint: " + r.Hint})
	}
	rows := make([][]cell, 0, len(r.Steps))
	for _, s := range r.Steps {
		said := s.Evidence
		if s.Error != "" {
			said = s.Error
		}
		rows = append(rows, []cell{
			{text: s.Kind},
			{text: s.Node},
			{text: s.Target},
			{s.State, stepTone(s.State)},
			{text: took(s.Duration)},
			{text: fmt.Sprint(s.Attempts)},
			{text: said},
		})
	}
	p.table([]string{"STEP", "ON", "TARGET", "STATE", "TOOK", "TRIES", "EVIDENCE"}, rows)
	p.conflicts(r, most)
}

// conflicts shows the counts, and the first of the list.
func (p *page) conflicts(r api.Run, most int) {
	counts := make([][]cell, 0, len(r.ConflictCounts))
	for _, c := range r.ConflictCounts {
		counts = append(counts, []cell{{text: c.Table}, {text: string(c.Kind)}, {c.Action, actionTone(c.Action)}, {text: fmt.Sprint(c.Count)}})
	}
	p.table([]string{"CONFLICTS IN", "KIND", "ACTION", "COUNT"}, counts)
	shown := r.Listed[:min(most, len(r.Listed))]
	rows := make([][]cell, 0, len(shown))
	for _, c := range shown {
		local := "no row"
		if c.Local != nil {
			local = byWhom(*c.Local)
		}
		if c.OtherKey != nil {
			local += " in row (" + keyText(c.OtherKey) + ")"
		}
		if c.Constraint != "" {
			local += ", constraint " + c.Constraint
		}
		rows = append(rows, []cell{
			{text: c.Node},
			{text: c.Table + " (" + keyText(c.Key) + ")"},
			{text: string(c.Kind)},
			{text: byWhom(c.Remote)},
			{text: local},
			{c.Action, actionTone(c.Action)},
		})
	}
	p.table([]string{"CONFLICT ON", "ROW", "KIND", "WRITE", "MET", "ACTION"}, rows)
	if rest := r.Conflicts - int64(len(shown)); rest > 0 && len(r.ConflictCounts) > 0 {
		p.line(cell{fmt.Sprintf("%d more: --conflicts N lists more of them, -o json the first %d", rest, topology.ListedConflicts), faint})
	}
}

func byWhom(w topology.RowWrite) string {
	who := w.Node
	if who == "" {
		who = "unknown"
	}
	if w.At.IsZero() {
		return who + " at an unknown time"
	}
	return who + " at " + w.At.UTC().Format("2006-01-02 15:04:05.000000Z")
}

func keyText(key map[string]string) string {
	parts := make([]string, 0, len(key))
	for _, name := range slices.Sorted(maps.Keys(key)) {
		parts = append(parts, name+"="+key[name])
	}
	return strings.Join(parts, ", ")
}

func took(d api.Duration) string { return time.Duration(d).Round(time.Millisecond).String() }

func stepTone(state string) tone {
	return map[string]tone{"done": good, "already": faint, "failed": bad, "cancelled": warn, "yielded": warn, "blocked": warn}[state]
}

func actionTone(action string) tone {
	return map[string]tone{topology.ActionStopped: bad, topology.ActionKept: warn, topology.ActionDeleted: warn}[action]
}
