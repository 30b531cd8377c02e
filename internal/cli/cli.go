package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/build"
)

// The exit codes beside those of the status command.
const (
	exitOK    = 0
	exitError = 1
	// exitUsage is EX_USAGE of sysexits.h: far away from the codes of status.
	exitUsage = 64
)

// App is what the command line is made of.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Environ decides about colour: NO_COLOR, TERM and their kin, as in
	// os.Environ.
	Environ []string
	Build   build.Info
	// CheckDSN reads the DSNs of a file.
	CheckDSN config.DSNCheck
	// Commands are the commands that run something. Their RunE returns errors
	// as those of this package do: a *topology.Fault carries its own hint,
	// Exit a code.
	Commands []*cobra.Command
	// NodeCommands are such commands below `healer node`.
	NodeCommands []*cobra.Command
	// RecoveryCommands are such commands below `healer recovery`.
	RecoveryCommands []*cobra.Command
}

// Exit is an error with the exit code that says it. Err may be nil when all has
// been said on standard output.
type Exit struct {
	Code int
	Err  error
}

// Error implements error.
func (e *Exit) Error() string {
	if e.Err == nil {
		return "exit"
	}
	return e.Err.Error()
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Exit) Unwrap() error { return e.Err }

// Run runs one command line, without the program's name, and returns its exit
// code: 0 done, 1 failed, 64 wrongly called; status has its own.
func (a App) Run(ctx context.Context, args []string) int {
	root := a.root() //nolint:contextcheck // the commands take theirs from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var exit *Exit
	code := exitError
	if errors.As(err, &exit) {
		code = exit.Code
	}
	if exit == nil || exit.Err != nil {
		a.complain(err)
	}
	return code
}

func (a App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "healer",
		Short: "Heals an active-active PostgreSQL cluster after the loss of a node",
		Long: strings.TrimSpace(`
Healer watches an active-active PostgreSQL cluster. When a node is lost, it finds
every transaction of that node which some survivor has and another lacks, carries
it across exactly once, proves the survivors equal, and takes the node back when
it returns.`),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return Usage(cmd, err) })
	root.AddCommand(a.Commands...)
	root.AddCommand(
		a.statusCommand(), a.healthCommand(), a.pauseCommand(), a.resumeCommand(), a.recoveryCommand(), a.nodeCommand(),
		a.configCommand(), a.gossipCommand(), a.grantsCommand(), a.versionCommand(), a.manCommand(),
	)
	documented(root)
	a.complete(root)
	return root
}

// subcommand refuses a word that is no command of cmd, and names the nearest.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	err := errors.New("there is no command " + quote(cmd.CommandPath()+" "+args[0]))
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return &hinted{code: exitUsage, err: err, hint: "did you mean " + quote(cmd.CommandPath()+" "+near[0]) + "?"}
	}
	return Usage(cmd, err)
}

// NoArgs refuses words behind a command that takes none, as its Args.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage(cmd, errors.New(quote(cmd.CommandPath())+" takes no argument "+quote(args[0])))
	}
	return nil
}
