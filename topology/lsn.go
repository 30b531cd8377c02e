package topology

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in one server's write-ahead log, in bytes from its
// beginning. LSNs of different servers are not comparable: an origin LSN is a
// position in the origin's log, a slot's position one in the log of the server
// that holds the slot. Zero means "none" (PostgreSQL's InvalidXLogRecPtr).
type LSN uint64

// ParseLSN reads PostgreSQL's text form of pg_lsn: two hexadecimal numbers of
// at most 32 bits, separated by a slash, such as "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q has no slash: want two hexadecimal numbers such as 16/B374D848", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part before the slash is not a 32-bit hexadecimal number", s)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part after the slash is not a 32-bit hexadecimal number", s)
	}
	return LSN(h<<32 | l), nil
}

// String is PostgreSQL's text form of pg_lsn.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) //nolint:gosec // the two halves are meant
}

// MarshalText implements encoding.TextMarshaler, so that JSON and YAML show an
// LSN as an operator knows it from psql.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}
