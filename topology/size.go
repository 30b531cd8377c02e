package topology

import "fmt"

// SizeText says a number of bytes for a person who may have to compare it with another:
// in the largest unit of which there is one, and from a kibibyte on exactly as well, such
// as "1.5 KiB (1536 bytes)".
func SizeText[N ~int64 | ~uint64](n N) string {
	unit, v := "", float64(n)
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		unit, v = u, v/1024
	}
	switch {
	case unit != "":
		return fmt.Sprintf("%.1f %s (%d bytes)", v, unit, n)
	case n == 1:
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
