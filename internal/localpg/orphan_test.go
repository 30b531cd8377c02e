package localpg

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func itoa(i int) string { return strconv.Itoa(i) }

// childMain is what the test binary does as the child of
// TestServersEndWithTheirOwner: it starts a server, tells where, and waits to be
// killed.
func childMain(role string) {
	ctx := context.Background()
	s, err := StartServer(ctx, ServerOptions{})
	if err == nil && role == "frozen" {
		err = s.Freeze(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Fprintln(os.Stdout, s.host.inst.program("postgres"))
	fmt.Fprintln(os.Stdout, s.DataDir())
	select {}
}

// An owner that is killed cannot stop its servers; they end all the same, and
// the next owner removes what they left on disk.
func TestServersEndWithTheirOwner(t *testing.T) {
	for _, role := range []string{"running", "frozen"} {
		t.Run(role, func(t *testing.T) {
			ctx := limit(t)
			self, err := os.Executable()
			must(t, err)
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(os.Environ(), childOf+"="+role)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			lines := bufio.NewReader(out)
			program, err := lines.ReadString('\n')
			must(t, err)
			dataDir, err := lines.ReadString('\n')
			must(t, err)
			program, dataDir = strings.TrimSpace(program), strings.TrimSpace(dataDir)
			if len(family(program, dataDir)) == 0 {
				t.Fatal("the child has no server")
			}
			must(t, cmd.Process.Signal(syscall.SIGKILL))
			_ = cmd.Wait()
			if err := until(ctx, func() bool { return len(family(program, dataDir)) == 0 }); err != nil {
				t.Fatalf("processes %v outlive their owner: %v", family(program, dataDir), err)
			}
			sweep(scratchBase(), workPrefix, func(string) {})
			if _, err := os.Stat(dataDir); !os.IsNotExist(err) {
				t.Errorf("the data directory outlives the sweep: %v", err)
			}
		})
	}
}

func TestServersAreNotInOurProcessGroup(t *testing.T) {
	s := startServer(t, ServerOptions{})
	group, err := syscall.Getpgid(s.postmaster().pid)
	must(t, err)
	if group == syscall.Getpgrp() {
		t.Error("Ctrl-C would reach the server")
	}
}
