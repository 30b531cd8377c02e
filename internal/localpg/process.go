package localpg

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// postmaster is a running server process that we are the parent of.
type postmaster struct {
	pid  int
	done chan struct{} // closed once the process has been reaped
	err  error         // how it ended; to be read after done
}

func (p *postmaster) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// spawn starts the server program. It runs in a process group of its own, so
// that Ctrl-C at a terminal reaches only us and we end the servers in order.
//
// If we die without doing so, the kernel sends the postmaster SIGQUIT, an
// immediate shutdown, which takes its children along. That signal is bound to
// the thread that forked, and Go ends threads when it likes: so one goroutine,
// locked to its thread, forks, waits for the end, and thereby keeps the thread.
//
// A frozen server would not take that signal. But its group is then without a
// parent in our session, and the kernel continues the stopped members of such a
// group: the postmaster wakes, finds SIGQUIT, and after 5 s kills the children
// that do not react.
func spawn(program string, args []string, dir string, log *os.File, acc account) (*postmaster, error) {
	p := &postmaster{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(program, args...) //nolint:noctx // a server outlives the context of its start
		cmd.Dir, cmd.Env = dir, childEnv()
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: acc.credential(), Setpgid: true, Pdeathsig: syscall.SIGQUIT,
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// family lists every live process of the server that owns dataDir. Parenthood
// cannot tell: the children call setsid, and after their postmaster's death they
// have another parent. But all of them run the same program in that directory.
func family(program, dataDir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != dataDir {
			continue
		}
		if exe, err := os.Readlink(proc + "/exe"); err == nil && exe == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ProcessState is the one-letter state of a process, such as 'T' for stopped; 0 when
// there is no such process.
func ProcessState(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	if at := bytes.LastIndexByte(stat, ')'); at >= 0 && at+2 < len(stat) {
		return stat[at+2]
	}
	return 0
}

// stopped reports that a process will run no more instruction for now: it is
// stopped, or it has ended.
func stopped(pid int) bool {
	return slices.Contains([]byte{0, 'T', 't', 'Z', 'X'}, ProcessState(pid))
}

// poll is how long to wait between two looks at processes.
const poll = 2 * time.Millisecond

// until waits for a condition on processes.
func until(ctx context.Context, cond func() bool) error {
	for !cond() {
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}

// stopAll sends SIGSTOP to a whole server: first the postmaster, so that no
// child is born while the children are counted.
func stopAll(ctx context.Context, program, dataDir string, postmasterPID int) error {
	if err := stopOne(ctx, postmasterPID); err != nil {
		return err
	}
	pids := family(program, dataDir)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range pids {
		if err := until(ctx, func() bool { return stopped(pid) }); err != nil {
			return err
		}
	}
	return nil
}

func stopOne(ctx context.Context, pid int) error {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	return until(ctx, func() bool { return stopped(pid) })
}

// killAll sends SIGKILL to every process of a server until none is left.
func killAll(ctx context.Context, program, dataDir string) error {
	return until(ctx, func() bool {
		pids := family(program, dataDir)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0
	})
}

// continueAll sends SIGCONT to every process of a server.
func continueAll(program, dataDir string) {
	for _, pid := range family(program, dataDir) {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// pidFileName is the file in the data directory that a live server keeps.
const pidFileName = "postmaster.pid"

// pidFile is what a server writes to it.
type pidFile struct {
	pid    int
	shmID  int // System V segment that marks the directory as in use; -1: none
	status string
}

// readPidFile returns nil when the file does not exist or is not written yet.
// Its lines: pid, directory, start time, port, socket directory, address,
// shared memory key and id, status.
func readPidFile(dataDir string) *pidFile {
	data, err := os.ReadFile(filepath.Join(dataDir, pidFileName))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return nil
	}
	p := &pidFile{pid: pid, shmID: -1}
	if len(lines) > 6 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			if id, err := strconv.Atoi(f[1]); err == nil {
				p.shmID = id
			}
		}
	}
	if len(lines) > 7 {
		p.status = strings.TrimSpace(lines[7])
	}
	return p
}
