package events

import "encoding/hex"

// TraceID is the trace of a recovery (W3C Trace Context, 16 bytes in hex). It
// follows from the recovery's id, so that whatever any agent tells of one recovery
// belongs to one trace.
func TraceID(recovery string) string {
	return hex.EncodeToString(digest([]string{"trace", recovery})[:16])
}

// SpanID is the span that the words name (8 bytes in hex).
func SpanID(words ...string) string {
	return hex.EncodeToString(digest(append([]string{"span"}, words...))[:8])
}

// traceParent is the header of that name for what happens within a recovery: version
// 00, sampled. Empty for what belongs to none.
func traceParent(recovery string) string {
	if recovery == "" {
		return ""
	}
	return "00-" + TraceID(recovery) + "-" + SpanID(recovery) + "-01"
}
