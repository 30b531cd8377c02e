// Command healer heals an active-active PostgreSQL cluster after the loss of a
// node. See README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"healer/internal/build"
	"healer/internal/chaoscmd"
	"healer/internal/cli"
	"healer/internal/demo"
	"healer/internal/discover"
	"healer/internal/doctor"
	"healer/internal/drive"
	"healer/internal/nodes"
	"healer/internal/tail"
	"healer/internal/uninstall"
	"healer/internal/verify"
	"healer/internal/watch"
	"healer/postgres"
)

// version is stamped by the linker: -X main.version=v1.2.3.
var version string

func main() { os.Exit(run()) }

// run is main with an exit code. The first signal asks for an orderly end, the
// second has the system's own effect.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return newApp().Run(ctx, os.Args[1:])
}

// newApp is the command line with all of its commands.
func newApp() cli.App {
	info, environ := build.Read(version), os.Environ()
	return cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ:  environ,
		Build:    info,
		CheckDSN: checkDSN,
		Commands: []*cobra.Command{
			discover.Command(checkDSN, environ), agentCommand(info), watch.Command(checkDSN, environ), tail.Command(checkDSN, environ),
			doctor.Command(checkDSN), verify.Command(checkDSN), uninstall.Command(checkDSN), drive.SlotsCommand(checkDSN), demo.Command(), chaoscmd.Command(checkDSN),
		},
		NodeCommands: nodes.Commands(checkDSN), RecoveryCommands: drive.RecoveryCommands(checkDSN),
	}
}

// checkDSN reads a DSN as the driver will, without connecting.
func checkDSN(dsn string) (server string, err error) {
	e, err := postgres.ParseEndpoint(dsn)
	if err != nil {
		return "", err
	}
	return e.String(), nil
}
