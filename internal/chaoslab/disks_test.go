package chaoslab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLeftOfAKilledLab: the directory of a process that was killed goes when the next
// one is made, with the file systems that are mounted in it; that of a living one stays.
func TestLeftOfAKilledLab(t *testing.T) {
	if os.Getenv("CHAOSLAB_BE_KILLED") != "" {
		dir, _, err := NewDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := mountDisks(dir, []string{"n1", "n2"})
		if d.why == nil {
			err = os.WriteFile(d.at("n1")+"/data", []byte("x"), 0o600)
		}
		_, _ = fmt.Fprintln(os.Stdout, dir, d.why == nil, err)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestLeftOfAKilledLab$")
	cmd.Env = append(os.Environ(), "CHAOSLAB_BE_KILLED=1", "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Fields(line)
	left, mounted := said[0], said[1] == "true"
	if mounted != has(t, left) {
		t.Errorf("mounted: %v, and the kernel says otherwise (%s)", mounted, line)
	}
	t.Setenv("TMPDIR", left[:strings.LastIndexByte(left, '/')])
	second, remove, err := NewDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil || mounted != has(t, left) {
		t.Errorf("the directory of a living process: %v", err)
	}
	remove()
	if _, err := os.Stat(second); !os.IsNotExist(err) {
		t.Errorf("the directory stays: %v", err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_, remove, err = NewDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if _, err := os.Stat(left); !os.IsNotExist(err) || has(t, left) {
		t.Errorf("what the killed process has left stays: %v, still mounted: %v", err, has(t, left))
	}
}

// has reports whether something is mounted below a directory.
func has(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(mounts), " "+dir+"/")
}
