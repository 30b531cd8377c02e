package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"healer/internal/app"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/tracing"
)

// agentCommand runs the agent of one node until it is told to stop.
func agentCommand(info build.Info) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent --config FILE --node NAME --data-dir DIR [--witness]",
		Short:   "Run the agent of one node",
		Example: "  healer agent --config /etc/healer.yaml --node n1 --data-dir /var/lib/healer\n  healer agent --witness --config /etc/healer.yaml --node w1 --data-dir /var/lib/healer",
		Long: `Run the agent of one node until SIGINT or SIGTERM. It watches the mesh, keeps
recovery slots on its own node, and, as the first by name of the agents that live,
recovers what the loss of a node left different. It logs to standard error.

With --witness it is the agent of no node: it watches and votes, so that two nodes
have a majority when one is lost, and changes nothing anywhere.`,
		Args: cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	witness := cmd.Flags().Bool("witness", false, "--node names a witness: an agent that looks and votes, beside no server")
	node := cmd.Flags().StringP("node", "n", "", "the node, by its `NAME` in the file, whose agent this is; else that of HEALER_NODE")
	dir := cmd.Flags().String("data-dir", "", "the agent's own `DIR`ectory, made when missing")
	level := cmd.Flags().String("log-level", "info", "the least `LEVEL` that is logged: debug|info|warn|error")
	form := cmd.Flags().String("log-format", "text", "how lines are logged: `text|json`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name := cli.Node(*node, os.Environ())
		c, err := cli.LoadConfig(cmd, *file, checkDSN)
		if err != nil {
			return err
		}
		log, err := logger(cmd.ErrOrStderr(), *level, *form)
		if err != nil {
			return cli.Usage(cmd, err)
		}
		traces, err := tracing.FromEnviron(os.Getenv)
		switch {
		case err != nil:
			return cli.Usage(cmd, err)
		case name == "":
			return cli.Usage(cmd, fmt.Errorf("the agent needs --node NAME, one of %v", c.Names()))
		case *dir == "":
			return cli.Usage(cmd, errors.New("the agent needs --data-dir DIR"))
		}
		return app.Run(cmd.Context(), app.Options{Config: c, Node: name, Witness: *witness, DataDir: *dir, Version: info.Version, Tracing: traces, Log: log})
	}
	return cmd
}

// logger makes the log of a process that runs unattended.
func logger(w io.Writer, level, form string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch form {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q is not text or json", form)
}
