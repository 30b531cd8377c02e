package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
)

func (a App) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "node", Short: "List, announce, drop and rebuild nodes", Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.maintenanceCommand())
	cmd.AddCommand(a.NodeCommands...)
	return cmd
}

func (a App) maintenanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "maintenance NODE (--for DURATION | --end) (--config FILE | --api HOST:PORT)",
		Short:   "Suspend the verdicts about a node for a while",
		Example: "  healer node maintenance n1 --for 30m --reason \"new disk\" --config healer.yaml\n  healer node maintenance n1 --end --config healer.yaml",
		Long: strings.TrimSpace(`
Suspend the verdicts about a node for a while: until then no agent concludes that it
has failed, whatever it looks like, and it is neither fenced off nor taken back. It
ends by itself, or with --end. One agent is told; it tells the others, and all keep it
across their restarts. healer status shows it.

While a node under maintenance is away, the recovery of another node waits for it.`),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return Usage(cmd, errors.New(quote(cmd.CommandPath())+" needs the name of one NODE"))
			}
			return nil
		},
	}
	f := a.steerFlagsOf(cmd)
	length := cmd.Flags().Duration("for", 0, "how long from now, such as 30m")
	end := cmd.Flags().Bool("end", false, "end it now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *end == (*length != 0):
			return Usage(cmd, errors.New("give one of --for DURATION and --end"))
		case *length < 0:
			return Usage(cmd, fmt.Errorf("--for %s is not ahead", *length))
		}
		ask := api.MaintenanceRequest{
			Node: args[0], For: api.Duration(*length), End: *end, By: *f.by, Reason: *f.reason, DryRun: *f.dry,
		}
		got, err := a.steerAgents(cmd, f, func(ctx context.Context, client *http.Client, addr, token string) (api.Controlled, error) {
			return api.PostMaintenance(ctx, client, addr, token, ask)
		})
		switch {
		case err != nil:
			return err
		case *f.out == asJSON:
			return writeJSON(cmd.OutOrStdout(), got)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), maintained(got))
		return err
	}
	return cmd
}

// maintained says in one line what holds now.
func maintained(c api.Controlled) string {
	text := Clean(c.Entry.Subject) + ": "
	if c.DryRun {
		text += "dry run: would be "
	}
	if c.Entry.Ended {
		text += "no longer under maintenance"
	} else {
		text += "under maintenance until " + c.Entry.Until.UTC().Format(time.RFC3339)
	}
	return text + " (by way of the agent of " + Clean(c.Agent) + ")"
}
