package chaoslab

import (
	"fmt"
	"os"
)

// Load is the machine's load average of the last minute; 0 where the system does not tell.
func Load() float64 { return loadIn("/proc/loadavg") }

// loadIn reads a file as proc(5) describes it.
func loadIn(path string) (load float64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return 0
	}
	return load
}
