package localpg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Two servers of one template are two servers: to each other, to whoever asks,
// and to their own recovery, which compares the identifier in the control file
// with the one in the WAL.
func TestClonesHaveIdentitiesOfTheirOwn(t *testing.T) {
	for _, major := range majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			ctx := limit(t)
			seen := map[string]bool{}
			for _, name := range []string{"a", "b"} {
				s := startServer(t, ServerOptions{Name: name, Major: major})
				const identity = `select system_identifier::text from pg_control_system()`
				before := ask[string](t, s, identity)
				if seen[before] {
					t.Errorf("server %s has the identifier %s of another", name, before)
				}
				seen[before] = true
				if got := ask[int](t, s, `select current_setting('server_version_num')::int / 10000`); got != major {
					t.Fatalf("the server is of %d, not %d", got, major)
				}
				_, err := s.Exec(ctx, `create table t as select generate_series(1, 1000) as id`)
				must(t, err)
				must(t, s.Kill(ctx))
				must(t, s.Start(ctx))
				if n := ask[int](t, s, `select count(*) from t`); n != 1000 {
					t.Errorf("%d rows after a crash, want 1000", n)
				}
				if after := ask[string](t, s, identity); after != before {
					t.Errorf("identifier %s after a crash, was %s", after, before)
				}
			}
		})
	}
}

// Wherever a version puts the checksum, patching finds it, and the result is
// again a control file with a matching checksum at the same place.
func TestPatchControl(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		used := 4 * rapid.IntRange(10, 120).Draw(t, "words before the checksum")
		control := make([]byte, 8192)
		copy(control, rapid.SliceOfN(rapid.Byte(), used, used).Draw(t, "fields"))
		binary.NativeEndian.PutUint32(control[used:], checksum(control[:used]))
		id := rapid.Uint64().Draw(t, "identifier")
		if err := patchControl(control, id); err != nil {
			t.Fatal(err)
		}
		if got := binary.NativeEndian.Uint64(control); got != id {
			t.Errorf("identifier %d, want %d", got, id)
		}
		if at := checksumOffset(control); at != used {
			t.Errorf("the checksum is at %d, was at %d", at, used)
		}
	})
}

func TestPatchControlRefusesADamagedFile(t *testing.T) {
	control := make([]byte, 8192)
	for i := range controlMax {
		control[i] = byte(i*7 + 1)
	}
	if err := patchControl(control, 1); !errors.Is(err, errNoChecksum) {
		t.Errorf("error %v, want errNoChecksum", err)
	}
}

// A WAL file that was made ahead of its use has no header to change.
func TestPatchSegmentLeavesAnUnusedFileAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "000000010000000000000002")
	must(t, os.WriteFile(path, make([]byte, 8192), 0o600))
	must(t, patchSegment(path, 42))
	data, err := os.ReadFile(path)
	must(t, err)
	for i, b := range data {
		if b != 0 {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

func TestNewSystemIDHoldsTheTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, err := newSystemID(at)
	must(t, err)
	b, err := newSystemID(at)
	must(t, err)
	if a == b || a>>32 != uint64(at.Unix()) || b>>32 != uint64(at.Unix()) {
		t.Errorf("identifiers %x and %x of %d", a, b, at.Unix())
	}
}
