package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// TraceID is the trace of a recovery (W3C Trace Context, 16 bytes in hex). It
// follows from the recovery's id, so that whatever any agent tells of one recovery
// belongs to one trace.
func TraceID(recovery string) string { return hexHash(16, "trace", recovery) }

// SpanID is the span that the words name (8 bytes in hex).
func SpanID(words ...string) string { return hexHash(8, append([]string{"span"}, words...)...) }

// traceParent is the header of that name for what happens within a recovery: version
// 00, sampled. Empty for what belongs to none.
func traceParent(recovery string) string {
	if recovery == "" {
		return ""
	}
	return "00-" + TraceID(recovery) + "-" + SpanID(recovery) + "-01"
}

func hexHash(n int, words ...string) string {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return hex.EncodeToString(h.Sum(nil)[:n])
}
