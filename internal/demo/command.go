package demo

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"healer/internal/cli"
)

// The exit codes of the command: those of the command line, and the shell's for
// a program that SIGINT ended.
const (
	exitFailed      = 1
	exitUsage       = 64
	exitInterrupted = 130
)

// Command is `healer demo`.
func Command() *cobra.Command {
	o := Defaults()
	output := "table"
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Kill a node of a real cluster on this machine and watch it heal",
		Long: strings.TrimSpace(`
Starts real PostgreSQL servers that replicate to each other both ways, an agent for
each, and writes on all of them. Then it cuts a link, so that one node falls behind,
kills another, waits for the healing, brings the killed node back, and compares
every row of every table on every node.

Everything it starts ends with it, whenever it ends. It exits 0 only when every row
was found equal everywhere.`),
		Example: "  healer demo\n  healer demo --nodes 5 --kill n2 --rows 50000\n  healer demo -o json",
		Args:    cli.NoArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&o.Keep, "keep", o.Keep, "leave the cluster running at the end, until Ctrl-C, and tell how to reach it")
	f.IntVar(&o.Major, "pg", o.Major, "major version of PostgreSQL: 16, 17 or 18 (default the newest found)")
	f.IntVar(&o.Nodes, "nodes", o.Nodes, "how many nodes, 3 to 7")
	f.StringVar(&o.Kill, "kill", o.Kill, "the `NODE` to kill")
	f.IntVar(&o.Rows, "rows", o.Rows, "how many rows the gap has at least")
	f.StringVar(&o.Dir, "dir", o.Dir, "make the demo's directory in `DIR`")
	f.StringVarP(&output, "output", "o", output, "how to write the result: `table|json`; with json everything else goes to standard error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if output != "table" && output != "json" {
			return &cli.Exit{Code: exitUsage, Err: fmt.Errorf("--output %q: use table or json", output)}
		}
		o.JSON = output == "json"
		if err := o.check(); err != nil {
			return &cli.Exit{Code: exitUsage, Err: err}
		}
		_, err := Run(cmd.Context(), o, streams(cmd))
		return exit(err)
	}
	return cmd
}

// streams are the command's; the live view needs a terminal on both ends.
func streams(cmd *cobra.Command) IO {
	s := IO{In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}
	in, okIn := s.In.(*os.File)
	out, okOut := s.Out.(*os.File)
	s.Live = okIn && okOut && term.IsTerminal(in.Fd()) && term.IsTerminal(out.Fd()) && os.Getenv("TERM") != "dumb"
	return s
}

// exit gives the error its code. The result has said already what a run found.
func exit(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrInterrupted):
		return &cli.Exit{Code: exitInterrupted, Err: errors.New("interrupted; everything was stopped and removed")}
	case errors.Is(err, ErrNotConverged):
		return &cli.Exit{Code: exitFailed, Err: ErrNotConverged}
	default:
		return &cli.Exit{Code: exitFailed, Err: err}
	}
}
