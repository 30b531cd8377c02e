package tracing

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"healer/events"
	"healer/executor"
)

// What a collector takes: OTLP's ExportTraceServiceRequest in its JSON encoding, in
// which ids are hex and 64-bit integers are strings ("OTLP/HTTP" in OpenTelemetry's
// specification).
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		ParentID   string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Events     []spanEvent `json:"events,omitempty"`
		Status     status      `json:"status"`
	}
	spanEvent struct {
		Time       string      `json:"timeUnixNano"`
		Name       string      `json:"name"`
		Attributes []attribute `json:"attributes,omitempty"`
	}
	status struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String string `json:"stringValue,omitempty"`
		Int    string `json:"intValue,omitempty"`
	}
)

// The numbers of OTLP's enumerations.
const (
	internalKind = 1
	statusOK     = 1
	statusError  = 2
)

func text(key, v string) attribute { return attribute{key, value{String: v}} }

func number(key string, v int64) attribute {
	return attribute{key, value{Int: strconv.FormatInt(v, 10)}}
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// spansOf are the spans of a run that has ended, out of its entries: first that of
// the run, then one for each step that did something. None if it did nothing.
func spansOf(entries []executor.Entry) []span {
	if len(entries) == 0 {
		return nil
	}
	first, last := entries[0], entries[len(entries)-1]
	run := span{
		TraceID: events.TraceID(first.Recovery), SpanID: events.SpanID(first.Recovery, first.Run),
		Name: "recovery", Kind: internalKind, Start: nanos(first.At), End: nanos(last.At), Status: statusOf(last.Error),
		Attributes: []attribute{
			text("healer.recovery", first.Recovery), text("healer.run", first.Run), text("healer.agent", first.Agent),
			text("healer.node", first.Node), text("healer.incarnation", first.Incarnation), text("healer.state", last.State),
		},
	}
	if p := first.Plan; p != nil {
		run.Name = string(p.Kind) + " " + first.Node
	}
	out := []span{run}
	retries := map[string][]spanEvent{}
	for _, e := range entries {
		switch {
		case e.Step == nil:
		case e.Event == executor.EntryAttempt:
			retries[e.Step.ID] = append(retries[e.Step.ID], spanEvent{
				Time: nanos(e.At), Name: "exception", Attributes: []attribute{text("exception.message", e.Error)},
			})
		case e.Event == executor.EntryStep && e.Duration > 0:
			s := stepSpan(e, run)
			s.Events = retries[e.Step.ID]
			out = append(out, s)
		}
	}
	return out
}

func stepSpan(e executor.Entry, run span) span {
	s := span{
		TraceID: run.TraceID, SpanID: events.SpanID(e.Recovery, e.Run, e.Step.ID), ParentID: run.SpanID,
		Name: string(e.Step.Kind) + " " + e.Step.Node, Kind: internalKind,
		Start: nanos(e.At.Add(-e.Duration)), End: nanos(e.At), Status: statusOf(e.Error),
		Attributes: []attribute{
			text("healer.step", e.Step.ID), text("healer.step.kind", string(e.Step.Kind)), text("healer.state", e.State),
			number("healer.attempts", int64(e.Attempts)),
		},
	}
	for key, v := range map[string]string{"healer.step.node": e.Step.Node, "healer.step.target": e.Step.Target, "healer.evidence": e.Evidence} {
		if v != "" {
			s.Attributes = append(s.Attributes, text(key, v))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Figures)) {
		s.Attributes = append(s.Attributes, number("healer."+name, e.Figures[name]))
	}
	slices.SortFunc(s.Attributes, func(a, b attribute) int { return cmp.Compare(a.Key, b.Key) })
	return s
}

func statusOf(problem string) status {
	if problem == "" {
		return status{Code: statusOK}
	}
	return status{Code: statusError, Message: problem}
}
