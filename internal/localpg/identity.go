package localpg

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// A copied cluster has its original's system identifier, and two nodes of a
// mesh with one identifier are not a mesh that exists. The identifier is kept in
// the control file, whose checksum covers it, and in the first page of every WAL
// file, which recovery compares with it.
const (
	// sysidAt is where pg_control begins with the identifier.
	sysidAt = 0
	// walSysidAt is xlp_sysid in XLogLongPageHeaderData: after magic, info,
	// timeline, page address and rem_len, padded to 8 bytes.
	walSysidAt = 24
	// longHeader is XLP_LONG_HEADER in a page's info field.
	longHeader = 0x0002
	// controlMax is PG_CONTROL_MAX_SAFE_SIZE: the used part fits one sector.
	controlMax = 512
)

// checksum is PostgreSQL's CRC-32C.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// errNoChecksum means that pg_control is damaged or of a layout unknown here.
var errNoChecksum = errors.New("pg_control: no checksum matches its content")

// newSystemID makes an identifier as initdb does: the time above, and below what
// tells clusters of the same second apart.
func newSystemID(now time.Time) (uint64, error) {
	var low [4]byte
	if _, err := rand.Read(low[:]); err != nil {
		return 0, err
	}
	return uint64(now.Unix())<<32 | uint64(binary.NativeEndian.Uint32(low[:])), nil
}

// setSystemID gives a cluster that was shut down another system identifier.
func setSystemID(dataDir string, id uint64) error {
	path := filepath.Join(dataDir, "global", "pg_control")
	control, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := patchControl(control, id); err != nil {
		return err
	}
	if err := overwrite(path, control); err != nil {
		return err
	}
	segments, err := walSegments(dataDir)
	if err != nil {
		return err
	}
	for _, segment := range segments {
		if err := patchSegment(segment, id); err != nil {
			return err
		}
	}
	return nil
}

// patchControl writes the identifier and the checksum over it. Where the
// checksum lies depends on the version, but it is the last field, and only there
// is the checksum of all bytes before it.
func patchControl(control []byte, id uint64) error {
	at := checksumOffset(control)
	if at < 0 {
		return errNoChecksum
	}
	binary.NativeEndian.PutUint64(control[sysidAt:], id)
	binary.NativeEndian.PutUint32(control[at:], checksum(control[:at]))
	return nil
}

func checksumOffset(control []byte) int {
	for at := 8; at+4 <= min(len(control), controlMax); at += 4 {
		if binary.NativeEndian.Uint32(control[at:]) == checksum(control[:at]) {
			return at
		}
	}
	return -1
}

var segmentName = regexp.MustCompile(`^[0-9A-F]{24}$`)

func walSegments(dataDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, "pg_wal"))
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if segmentName.MatchString(e.Name()) {
			paths = append(paths, filepath.Join(dataDir, "pg_wal", e.Name()))
		}
	}
	return paths, nil
}

// patchSegment changes the identifier in a WAL file's first page. Page headers
// have no checksum. A file that was made ahead of its use is all zeroes.
func patchSegment(path string, id uint64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	var header [walSysidAt + 8]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if binary.NativeEndian.Uint16(header[2:])&longHeader == 0 {
		return nil
	}
	var raw [8]byte
	binary.NativeEndian.PutUint64(raw[:], id)
	_, err = f.WriteAt(raw[:], walSysidAt)
	return err
}

// overwrite replaces a file's bytes and keeps its owner and mode.
func overwrite(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	_, err = f.WriteAt(data, 0)
	return err
}
