package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"healer/events"
)

// lastWords is how long a program that was killed may keep its output open, by
// children that have left its process group.
const lastWords = time.Second

// maxSaid bounds what is kept of a program's output.
const maxSaid = 4 << 10

// program is a hook that runs a program.
type program struct {
	argv  []string
	agent string
}

func newProgram(argv []string, agent string) (*program, error) {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, err
	}
	return &program{argv: argv, agent: agent}, nil
}

// run gives the program the event on its standard input. It has done its work when
// it exits 0. At the end of ctx it is killed, with the processes it has started.
func (p *program) run(ctx context.Context, e events.Event, try int) error {
	body, err := e.Encode()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Stdin = bytes.NewReader(body)
	said := &head{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
		"HEALER_EVENT_ID=" + e.ID, "HEALER_EVENT_KIND=" + string(e.Kind()), "HEALER_SEVERITY=" + string(e.Severity),
		"HEALER_CLUSTER=" + e.Cluster, "HEALER_NODE=" + e.Subject, "HEALER_RECOVERY=" + e.Recovery,
		"HEALER_AGENT=" + p.agent, "HEALER_TRY=" + strconv.Itoa(try),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return err
	}
	cmd.WaitDelay = lastWords
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s was killed: %w", p.argv[0], context.Cause(ctx))
	case len(said.b) > 0:
		return fmt.Errorf("%s: %w: %s", p.argv[0], err, brief(said.b))
	}
	return fmt.Errorf("%s: %w", p.argv[0], err)
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

// Write implements io.Writer; it takes everything.
func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxSaid-len(h.b))]...)
	return len(p), nil
}
