package chaoslab

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClock steps the clock of a process that tells the time, and back.
func TestClock(t *testing.T) {
	if os.Getenv("CHAOSLAB_TELL_TIME") != "" {
		for line := bufio.NewScanner(os.Stdin); line.Scan(); {
			_, _ = os.Stdout.WriteString(strconv.FormatInt(time.Now().Unix(), 10) + "\n")
		}
		return
	}
	if clockAble() != nil {
		return // it says why: the kind is not drawn on such a machine
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestClock$")
	cmd.Env = append(os.Environ(), "CHAOSLAB_TELL_TIME=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	asked := func() time.Duration {
		t.Helper()
		if _, err := in.Write([]byte("\n")); err != nil || !lines.Scan() {
			t.Fatalf("it does not tell the time: %v", err)
		}
		unix, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(time.Unix(unix, 0)).Round(10 * time.Second)
	}
	for _, offset := range []time.Duration{0, time.Hour, -20 * time.Minute, 0} {
		if err := syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for busy := true; busy; {
			if busy, err = setClock(cmd.Process.Pid, offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Kill(cmd.Process.Pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if got := asked(); got != offset {
			t.Errorf("its clock is wrong by %s, want %s", got, offset)
		}
	}
	_ = in.Close()
	_ = cmd.Wait()
}
