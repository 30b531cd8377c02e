package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/events"
)

// statusTable writes a report for a person: the verdict and its reasons first,
// then what they rest on.
func (a App) statusTable(w io.Writer, r report) error {
	p := &page{styles: styles()}
	s := *r.Status
	p.line(cell{"cluster " + s.Cluster, title}, cell{string(s.State), stateTone(s.State)})
	p.line(cell{fmt.Sprintf("seen by the agent of %s (%s, mode %s), observed %s", s.Agent, s.Version, s.Mode, when(s.At)), faint})
	if s.Advice != "" {
		p.line(cell{"advice only: plans are shown and not run: " + s.Advice, warn})
	}
	if mixed := s.MixedVersions(); mixed != "" {
		p.line(cell{mixed, warn})
	}
	for _, why := range s.Reasons {
		p.line(cell{text: "  - " + why})
	}
	p.nodes(s)
	p.detection(s)
	p.steered(s)
	p.progress(s)
	p.slots(s)
	p.recoveries(s)
	p.table([]string{"EVENTS", "CONNECTED", "STREAM READY", "OUTBOX"}, [][]cell{{
		{text: "NATS"},
		yes(s.NATS.Connected, warn),
		yes(s.NATS.StreamReady, warn),
		{text: fmt.Sprint(s.NATS.OutboxDepth)},
	}})
	p.hooks(s)
	p.strangers(s)
	p.silent(r.Agents)
	return p.write(w, a.Environ)
}

func (p *page) nodes(s api.Status) {
	rows := make([][]cell, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		var fenced []string
		for _, sub := range n.Subscriptions {
			if sub.Fenced {
				fenced = append(fenced, sub.Provider)
			}
		}
		rows = append(rows, []cell{
			{text: n.Name},
			{n.Life, lifeTone(n.Life)},
			{text: when(n.Since)},
			{text: version(n.Version)},
			yes(n.Reachable, bad),
			yes(n.Ready, bad),
			yes(n.AgentAlive, warn),
			{strings.Join(fenced, ","), warn},
		})
	}
	p.table([]string{"NODE", "LIFE", "SINCE", "POSTGRES", "READABLE", "READY", "AGENT", "FENCED FROM"}, rows)
	var unsent, findings [][]cell
	for _, n := range s.Nodes {
		if text := n.UnsentText(n.Name); text != "" {
			tell := plain
			if n.UnsentBytes == nil || *n.UnsentBytes > 0 {
				tell = warn
			}
			unsent = append(unsent, []cell{{text: n.Name}, {text, tell}})
		}
		for _, f := range n.Findings {
			t := warn
			if f.Blocking {
				t = bad
			}
			findings = append(findings, []cell{{text: n.Name}, {f.Code, t}, {text: f.Detail}, {text: f.Remedy}})
		}
	}
	p.table([]string{"NODE", "WHAT NO SURVIVOR HAS OF IT"}, unsent)
	p.table([]string{"NODE", "FINDING", "DETAIL", "REMEDY"}, findings)
}

// detection shows what the detector found, and the members without a server.
func (p *page) detection(s api.Status) {
	var found, witnesses [][]cell
	for _, n := range s.Nodes {
		for _, c := range n.Conditions {
			t := warn
			if c.Severity == events.Info {
				t = plain
			}
			found = append(found, []cell{{text: n.Name}, {c.Code, t}, {text: c.Text}, {text: c.Leads}})
		}
	}
	for _, w := range s.Witnesses {
		witnesses = append(witnesses, []cell{{text: w.Name}, yes(w.AgentAlive, warn)})
	}
	p.table([]string{"NODE", "CONDITION", "MEANING", "WHAT FOLLOWS"}, found)
	p.table([]string{"WITNESS", "AGENT"}, witnesses)
}

// steered shows what operators have said and still holds.
func (p *page) steered(s api.Status) {
	var rows [][]cell
	for _, e := range s.Control {
		subject, until := e.Subject, "-"
		if subject == "" {
			subject = "all"
		}
		if !e.Until.IsZero() {
			until = when(e.Until)
		}
		rows = append(rows, []cell{{string(e.Kind), warn}, {text: subject}, {text: when(e.At)}, {text: until}, {text: e.By}, {text: e.Reason}})
	}
	p.table([]string{"CONTROL", "OF", "SINCE", "UNTIL", "BY", "REASON"}, rows)
}

// progress is a matrix: a row for each origin, a column for each node.
func (p *page) progress(s api.Status) {
	if len(s.Progress) == 0 {
		return
	}
	head := []string{"PROGRESS OF"}
	var rows [][]cell
	for _, n := range s.Nodes {
		head = append(head, "ON "+n.Name)
	}
	for _, origin := range s.Nodes {
		row := words(origin.Name)
		for _, on := range s.Nodes {
			row = append(row, progressCell(s.Progress, origin.Name, on.Name))
		}
		rows = append(rows, row)
	}
	p.table(head, rows)
}

func progressCell(all []api.Progress, origin, node string) cell {
	i := slices.IndexFunc(all, func(p api.Progress) bool { return p.Origin == origin && p.Node == node })
	switch {
	case origin == node || i < 0:
		return cell{"-", faint}
	case all[i].LSN == 0 && all[i].Missing == 0:
		return cell{"unknown", warn}
	case all[i].Missing > 0:
		return cell{fmt.Sprintf("%s (-%s%s)", all[i].LSN, bytes(all[i].Missing), late(all[i], ", ")), warn}
	case late(all[i], "") != "":
		return cell{fmt.Sprintf("%s (%s)", all[i].LSN, late(all[i], "")), warn}
	default:
		return cell{text: all[i].LSN.String()}
	}
}

// late says for how long a node has been behind, from a time on that is no chance.
func late(p api.Progress, after string) string {
	if p.Lag == nil || time.Duration(*p.Lag) < 2*time.Second {
		return ""
	}
	return after + time.Duration(*p.Lag).Round(time.Second).String()
}

func (p *page) slots(s api.Status) {
	rows := make([][]cell, 0, len(s.Slots))
	for _, sl := range s.Slots {
		t, w := plain, plain
		if sl.AtRisk {
			t = warn
		}
		if sl.WALStatus == "lost" || sl.WALStatus == "unreserved" {
			w = bad
		}
		rows = append(rows, []cell{
			{text: sl.Node},
			{text: sl.For},
			{text: string(sl.Kind)},
			{text: sl.Confirmed.String()},
			{bytes(uint64(max(sl.RetainedBytes, 0))), t},
			{sl.WALStatus, w},
		})
	}
	p.table([]string{"SLOT ON", "FOR", "KIND", "CONFIRMED", "RETAINED", "WAL"}, rows)
}

func (p *page) recoveries(s api.Status) {
	var rows [][]cell
	for _, r := range []*api.Recovery{s.Current, s.Last} {
		if r != nil {
			rows = append(rows, []cell{
				{text: r.Kind},
				{text: r.Node},
				{strings.TrimSpace(r.State + " " + r.Step), recoveryTone(r.State)},
				{text: when(r.Started)},
				{text: time.Duration(r.Duration).Round(time.Millisecond).String()},
				{text: r.Source},
				{text: fmt.Sprint(r.Transactions)},
				{text: fmt.Sprint(r.Conflicts)},
				{text: fmt.Sprint(r.Repaired)},
			})
		}
	}
	p.table([]string{"RECOVERY", "OF", "STATE", "STARTED", "TOOK", "SOURCE", "TRANSACTIONS", "CONFLICTS", "REPAIRED"}, rows)
	for _, r := range []*api.Recovery{s.Current, s.Last} {
		if r != nil && r.Error != "" {
			p.line(cell{r.Error, bad})
			p.line(cell{text: "hint: " + r.Hint})
		}
	}
	var refusals [][]cell
	for _, r := range s.Refusals {
		t := bad
		if r.Wait {
			t = warn
		}
		refusals = append(refusals, []cell{{text: r.Subject}, {r.Reason, t}, {text: r.Why}, {text: r.Remedy}})
	}
	p.table([]string{"REFUSED FOR", "REASON", "WHY", "REMEDY"}, refusals)
}

// hooks are those that this agent has run.
func (p *page) hooks(s api.Status) {
	var rows [][]cell
	for _, h := range s.Hooks {
		t := plain
		if h.GivenUp > 0 {
			t = bad
		}
		rows = append(rows, []cell{
			{text: h.Name}, {text: fmt.Sprint(h.Done)}, {text: fmt.Sprint(h.Failed)}, {fmt.Sprint(h.GivenUp), t}, {h.Problem, warn},
		})
	}
	p.table([]string{"HOOK", "DONE", "FAILED TRIES", "GIVEN UP", "LAST PROBLEM"}, rows)
}

// strangers are what gossip has turned away.
func (p *page) strangers(s api.Status) {
	var rows [][]cell
	for _, r := range s.Gossip.Refused {
		rows = append(rows, []cell{{r.Reason, warn}, {text: fmt.Sprint(r.Count)}, {text: when(r.Last)}, {text: r.From}, {text: r.Detail}})
	}
	p.table([]string{"GOSSIP REFUSED", "COUNT", "LAST", "FROM", "DETAIL"}, rows)
}

// silent names the agents that did not answer.
func (p *page) silent(agents []answer) {
	var rows [][]cell
	for _, g := range agents {
		if g.Error != "" {
			rows = append(rows, []cell{{text: g.Node}, {text: g.API}, {g.Error, warn}})
		}
	}
	p.table([]string{"SILENT AGENT", "API", "WHY"}, rows)
}

func stateTone(s api.State) tone {
	return map[api.State]tone{api.Healthy: good, api.Degraded: warn, api.Critical: bad}[s]
}

func lifeTone(life string) tone {
	return map[string]tone{api.LifeUp: good, api.LifeSuspected: warn, api.LifeReturning: warn, api.LifeFailed: bad, api.LifeLeft: faint}[life]
}

func recoveryTone(state string) tone {
	return map[string]tone{
		api.RecoveryVerified: good, api.RecoveryRunning: warn, api.RecoveryCancelled: warn, api.RecoveryFailed: bad,
		api.RecoveryInterrupted: warn,
	}[state]
}

// yes shows a fact; not is the tone of its absence.
func yes(fact bool, not tone) cell {
	if fact {
		return cell{text: "yes"}
	}
	return cell{"no", not}
}

// when shows a time in UTC, so that two operators read the same.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// version shows server_version_num as PostgreSQL's own name for it.
func version(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%d.%d", n/10000, n%10000)
}

// bytes shows a size in the largest unit that keeps it above one.
func bytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
