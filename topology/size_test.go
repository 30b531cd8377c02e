package topology_test

import (
	"testing"

	"healer/topology"
)

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1: "1 byte", 1023: "1023 bytes", 1536: "1.5 KiB (1536 bytes)", 1 << 20: "1.0 MiB (1048576 bytes)",
		5 << 30: "5.0 GiB (5368709120 bytes)", 1 << 40: "1.0 TiB (1099511627776 bytes)", 1 << 51: "2048.0 TiB (2251799813685248 bytes)",
	} {
		if got := topology.SizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
