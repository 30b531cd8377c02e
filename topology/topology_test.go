package topology_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"healer/topology"
)

func TestLSNText(t *testing.T) {
	for text, want := range map[string]topology.LSN{
		"0/0":               0,
		"16/B374D848":       0x16B374D848,
		"ffffffff/ffffffff": 1<<64 - 1,
	} {
		got, err := topology.ParseLSN(text)
		if err != nil || got != want {
			t.Errorf("ParseLSN(%q) = %x, %v; want %x", text, uint64(got), err, uint64(want))
		}
	}
	for _, bad := range []string{"", "16", "16/", "/16", "1FFFFFFFF/0", "0/1FFFFFFFF", "x/0", "0/-1", "0/0/0"} {
		if got, err := topology.ParseLSN(bad); err == nil {
			t.Errorf("ParseLSN(%q) = %v: want an error", bad, got)
		}
	}
}

func TestLSNRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := topology.LSN(rapid.Uint64().Draw(t, "lsn"))
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got topology.LSN
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%x came back from %s as %x, %v", uint64(want), b, uint64(got), err)
		}
	})
}

// PostgreSQL takes at most 63 bytes of [a-z0-9_], and different peers must never
// share a slot.
func TestSlotNames(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
	digit := regexp.MustCompile(`_[0-9]$`)
	word := rapid.StringMatching(`[a-zA-Z0-9é-]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		db, a, b, f := word.Draw(t, "db"), word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "f")
		clone := topology.CloneSlotName(db, a, b, f)
		names := []string{
			topology.RecoverySlotName(db, a, b), topology.SeedSlotName(db, a, b), clone, topology.MeshSlotName(db, a, b),
		}
		if a != b {
			names = append(names, topology.RecoverySlotName(db, b, a), topology.CloneSlotName(db, b, a, f), topology.MeshSlotName(db, b, a))
		}
		seen := map[string]bool{}
		for _, n := range names {
			if !valid.MatchString(n) {
				t.Fatalf("slot name %q is not one that PostgreSQL takes", n)
			}
			if seen[n] {
				t.Fatalf("slot name %q stands for two slots", n)
			}
			if digit.MatchString(n) {
				t.Fatalf("slot name %q ends in _<digit>", n)
			}
			seen[n] = true
		}
	})
	if got, want := topology.RecoverySlotName("app", "n1", "n2"), "spock_app_recovery_n1_n2"; got != want {
		t.Errorf("RecoverySlotName = %q, want %q", got, want)
	}
	long := strings.Repeat("x", 60)
	if topology.RecoverySlotName("app", long+"1", "b") == topology.RecoverySlotName("app", long+"2", "b") {
		t.Error("two long names that differ in their last byte share a slot name")
	}
}

// TestWriterNames has ids in place of names, and nothing else taken for one.
func TestWriterNames(t *testing.T) {
	for _, id := range []uint32{0, 49708, 1<<32 - 1} {
		if got, ok := topology.ParseWriterName(topology.WriterName(id)); !ok || got != id {
			t.Errorf("%d came back from %s as %d, %v", id, topology.WriterName(id), got, ok)
		}
	}
	for _, name := range []string{"", "#", "49708", "#049", "#+4", "#4294967296", "pg_16394"} {
		if id, ok := topology.ParseWriterName(name); ok {
			t.Errorf("%q was read as %d", name, id)
		}
	}
}

func TestFault(t *testing.T) {
	f := &topology.Fault{Class: topology.Transient, Code: "57P03", Node: "n1", Hint: "wait", Err: io.EOF}
	err := fmt.Errorf("observe: %w", f)
	if topology.ClassOf(err) != topology.Transient {
		t.Errorf("class of %v is %v", err, topology.ClassOf(err))
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("%v does not unwrap to its cause", err)
	}
	if want := "observe: n1: EOF (wait)"; err.Error() != want {
		t.Errorf("text is %q, want %q", err, want)
	}
	if topology.ClassOf(io.EOF) != topology.Permanent {
		t.Error("an unclassified error must not be retried")
	}
}
