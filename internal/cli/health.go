package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
)

func (a App) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "health (--config FILE --node NAME | --api HOST:PORT) [--ready]",
		Short:   "Ask one agent whether it lives, for whoever restarts it",
		Example: "  healer health --config /etc/healer.yaml --node n1\n  healer health --api 10.0.0.1:8081 --ready",
		Long: strings.TrimSpace(`
Ask one agent whether it lives, for whoever restarts it, such as a container's engine:
it says nothing of the cluster, of which healer status tells. With --ready it has to have
observed the mesh, and to read its own node.

Without --node it is the one of the environment's HEALER_NODE.

Exits 0 when it does, 1 when it does not, 64 when wrongly called.`),
		Args: NoArgs,
	}
	file := ConfigFlag(cmd)
	node := cmd.Flags().StringP("node", "n", "", "ask the agent of this node")
	addr := AgentFlags(cmd, "ask")
	ready := cmd.Flags().Bool("ready", false, "whether it also sees the mesh, and not only lives")
	limit := cmd.Flags().Duration("timeout", 3*time.Second, "how long to wait for the agent")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		name := Node(*node, a.Environ)
		if *addr != "" {
			name = *node
		} else if name == "" {
			return Usage(cmd, errors.New("whose agent? name it with --node or HEALER_NODE, or by --api HOST:PORT"))
		}
		agents, err := a.agents(cmd, *file, name, *addr)
		if err != nil {
			return err
		}
		client, err := AgentClient(cmd, a.CheckDSN)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *limit)
		defer cancel()
		said, err := api.FetchHealth(ctx, client, agents[0].API, *ready)
		if said != "" {
			fmt.Fprintln(cmd.OutOrStdout(), said)
		}
		if err != nil {
			return Hint(fmt.Errorf("the agent at %s: %s", agents[0].API, reason(err)), "`healer status` says how the cluster is, the agent's log what keeps it")
		}
		return nil
	}
	return cmd
}

// Node is the node that a command is about: that of its flag, else that of HEALER_NODE.
func Node(flag string, environ []string) string {
	if flag != "" {
		return flag
	}
	for _, e := range environ {
		if name, is := strings.CutPrefix(e, "HEALER_NODE="); is {
			return name
		}
	}
	return ""
}
