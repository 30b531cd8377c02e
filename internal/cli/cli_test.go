package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a command that ends with err.
func failing(err error) *cobra.Command {
	return &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return err }}
}

// The commands that are plugged in return errors of any kind; each has its text,
// its hint and its code.
func TestErrors(t *testing.T) {
	t.Parallel()
	fault := &topology.Fault{Code: "address_in_use", Node: "n1", Hint: "stop the other agent", Err: errors.New("port taken")}
	for name, tc := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"none":           {nil, 0, ""},
		"plain":          {errors.New("it broke"), 1, "healer: it broke\n"},
		"fault":          {fault, 1, "healer: n1: port taken\n  hint: stop the other agent\n"},
		"wrapped fault":  {fmt.Errorf("agent: %w", fault), 1, "healer: agent: n1: port taken\n  hint: stop the other agent\n"},
		"with a code":    {&cli.Exit{Code: 7, Err: fault}, 7, "healer: n1: port taken\n  hint: stop the other agent\n"},
		"code alone":     {&cli.Exit{Code: 2}, 2, ""},
		"terminal codes": {errors.New("a\x1b[2Jb"), 1, "healer: a?[2Jb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			app := cli.App{
				Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &errs,
				Build: build.Read("v1"), Commands: []*cobra.Command{failing(tc.err)},
			}
			if code := app.Run(context.Background(), []string{"fail"}); code != tc.code {
				t.Errorf("exit code %d: want %d", code, tc.code)
			}
			if errs.String() != tc.stderr {
				t.Errorf("standard error %q: want %q", errs.String(), tc.stderr)
			}
			if out.Len() > 0 {
				t.Errorf("standard output %q", out.String())
			}
		})
	}
}

// A context that has ended, as after an interrupt, ends the commands too.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var errs bytes.Buffer
	app := cli.App{Stdin: &bytes.Buffer{}, Stdout: &bytes.Buffer{}, Stderr: &errs}
	if code := app.Run(ctx, []string{"status", "--api", "127.0.0.1:1"}); code != 3 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
