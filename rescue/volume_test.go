package rescue

import (
	"testing"

	"pgregory.net/rapid"

	"healer/topology"
)

// TestVolume counts each transaction once, when T has it, whatever the order of sending
// and answers.
func TestVolume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v volume
		sizes := rapid.SliceOf(rapid.Int64Range(0, 9)).Draw(t, "sizes")
		sent, progress, counted := 0, 0, int64(0)
		for sent < len(sizes) || progress < sent {
			if sent < len(sizes) && (progress == sent || rapid.Bool().Draw(t, "send")) {
				sent++
				v.sent(topology.LSN(sent), sizes[sent-1]) //nolint:gosec // small
			} else {
				progress = rapid.IntRange(progress+1, sent).Draw(t, "progress")
			}
			counted += v.reached(topology.LSN(progress)) //nolint:gosec // small
			want := int64(0)
			for _, s := range sizes[:progress] {
				want += s
			}
			if counted != want {
				t.Fatalf("%d bytes of %v counted up to %d", counted, sizes, progress)
			}
		}
	})
}
