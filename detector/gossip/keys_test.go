package gossip

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeKeys(t *testing.T, mode os.FileMode, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gossip.keys")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestReadKeys(t *testing.T) {
	short := base64.StdEncoding.EncodeToString(make([]byte, 16))
	fresh := NewKey()
	path := writeKeys(t, 0o600, "# sends", fresh, "", "  # accepted", " "+short+" ")
	keys, err := ReadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || base64.StdEncoding.EncodeToString(keys[0]) != fresh || len(keys[0]) != 32 || len(keys[1]) != 16 {
		t.Errorf("keys %x", keys)
	}
	if NewKey() == fresh {
		t.Error("two fresh keys are equal")
	}
}

func TestReadKeysRefuses(t *testing.T) {
	good := NewKey()
	for name, c := range map[string]struct {
		mode  os.FileMode
		lines []string
		want  string
	}{
		"world":     {0o644, []string{good}, "mode 0644"},
		"writable":  {0o620, []string{good}, "chmod 0600"},
		"no base64": {0o600, []string{good, "hunter2!"}, "line 2 is not base64"},
		"length":    {0o600, []string{"aGVsbG8="}, "key of 5 bytes"},
		"twice":     {0o600, []string{good, "#", good}, "line 3 is a key that stands above"},
		"empty":     {0o600, []string{"# none"}, "there is no key in it"},
		"no keys":   {0o600, []string{strings.Repeat("# long\n", 64<<10)}, "no file of secrets"},
	} {
		path := writeKeys(t, c.mode, c.lines...)
		_, err := ReadKeys(path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v: want %q in it", name, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
		for _, l := range c.lines {
			if len(l) > 6 && strings.Contains(err.Error(), l) {
				t.Errorf("%s: the error shows a line of the file: %v", name, err)
			}
		}
	}
	if _, err := ReadKeys(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a directory: %v", err)
	}
}

// A file of root may be read by its group, as PostgreSQL has it for keys.
func TestGroupMayReadRootsKeys(t *testing.T) {
	path := writeKeys(t, 0o640, NewKey())
	_, err := ReadKeys(path)
	if root := os.Geteuid() == 0; root != (err == nil) {
		t.Errorf("as root %v: error %v", root, err)
	}
}
