package chaoslab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"21.50 10.85 8.11 3/512 21625\n": 21.5, "0.07 0 0 1/2 3": 0.07, "": 0, "idle": 0} {
		path := filepath.Join(t.TempDir(), "loadavg")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := loadIn(path); got != want {
			t.Errorf("%q: the load is %v, want %v", text, got, want)
		}
	}
	if got := loadIn(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("without a file the load is %v", got)
	}
}
