package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// word returns the text of a single value as it was written, quotes removed.
func (v value) word() (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	v.bad("is "+kindOf(v.node)+", not a single value", "write one value behind the colon")
	return "", false
}

// named reads a name of at most 32 bytes in the given alphabet, beginning with
// a letter or a digit. The limit keeps slot names, subjects and streams short.
func named(dst *string, alphabet, example string) func(value) {
	re := regexp.MustCompile(`^[a-z0-9][` + alphabet + `]*$`)
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		*dst = s
		switch {
		case len(s) > 32:
			v.bad(fmt.Sprintf("%s is %d bytes long", show(s), len(s)), "use at most 32, such as "+example)
		case !re.MatchString(s):
			v.bad(show(s)+" is not a name",
				fmt.Sprintf("use the characters [%s], beginning with a letter or a digit, such as %s", alphabet, example))
		}
	}
}

// choice is one word that a field may hold. A word that is known and yet not
// taken says why in refused.
type choice struct {
	word    string
	refused string
}

// oneOf reads one of a few words.
func oneOf[T ~string](dst *T, choices ...choice) func(value) {
	var words []string
	for _, c := range choices {
		if c.refused == "" {
			words = append(words, c.word)
		}
	}
	remedy := "use " + orList(words)
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		for _, c := range choices {
			if c.word != s {
				continue
			}
			if c.refused != "" {
				v.bad(show(s)+" "+c.refused, remedy)
				return
			}
			*dst = T(s)
			return
		}
		if near, ok := nearest(s, words); ok {
			v.bad(show(s)+" is unknown", fmt.Sprintf("did you mean %q? %s", near, remedy))
			return
		}
		v.bad(show(s)+" is unknown", remedy)
	}
}

// duration reads a duration between lo and hi, both allowed.
func duration(dst *time.Duration, lo, hi time.Duration) func(value) {
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		if _, nan := strconv.ParseFloat(s, 64); nan == nil && s != "0" {
			v.bad(show(s)+" has no unit", fmt.Sprintf("write a unit, such as %ss or %sms", s, s))
			return
		}
		switch {
		case err != nil:
			v.bad(show(s)+" is not a duration", fmt.Sprintf("write a number and a unit, such as %s (units: ms, s, m, h)", *dst))
		case d < lo || d > hi:
			v.bad(show(s)+" is out of range", fmt.Sprintf("use %s to %s", short(lo), short(hi)))
		default:
			*dst = d
		}
	}
}

// short writes a duration without its zero parts: 5m, not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// count reads a whole number between lo and hi, both allowed.
func count(dst *int, lo, hi int) func(value) {
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		n, err := strconv.Atoi(s)
		switch {
		case err != nil:
			v.bad(show(s)+" is not a whole number", fmt.Sprintf("write a number, such as %d", *dst))
		case n < lo || n > hi:
			v.bad(show(s)+" is out of range", fmt.Sprintf("use %d to %d", lo, hi))
		default:
			*dst = n
		}
	}
}

// sizeUnits are the suffixes of a size; a plain number is bytes.
func sizeUnits() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}
}

// size reads a number of bytes, at least lo.
func size(dst *int64, lo int64) func(value) {
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		n, ok := parseSize(s)
		switch {
		case !ok:
			v.bad(show(s)+" is not a size", "write a whole number and a unit, such as 512MiB or 2GiB (units: KiB, MiB, GiB, TiB)")
		case n < lo:
			v.bad(show(s)+" is too small", fmt.Sprintf("use at least %d bytes", lo))
		default:
			*dst = n
		}
	}
}

func parseSize(s string) (int64, bool) {
	for _, u := range sizeUnits() {
		digits, found := strings.CutSuffix(s, u.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.bytes {
			return 0, false
		}
		return n * u.bytes, true
	}
	return 0, false
}

// hostport reads an address that this node listens on and the others dial.
func hostport(dst *string) func(value) {
	const form = "write host:port, such as 10.0.0.1:7941"
	return func(v value) {
		s, ok := v.word()
		if !ok {
			return
		}
		*dst = s
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			v.bad(show(s)+" is not an address", form)
			return
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			v.bad(show(s)+" has no port between 1 and 65535", form)
			return
		}
		ip, err := netip.ParseAddr(host)
		if host == "" || (err == nil && ip.IsUnspecified()) {
			v.bad(show(s)+" names no host that the other nodes can reach", form)
		}
	}
}

// orList joins words as prose: a, b or c.
func orList(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// yesNo reads a boolean.
func yesNo(dst *bool) func(value) {
	return func(v value) {
		s, ok := v.word()
		switch {
		case !ok:
		case s == "true", s == "false":
			*dst = s == "true"
		default:
			v.bad(show(s)+" is neither true nor false", "write true or false")
		}
	}
}
