package cli

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"healer/api"
)

func (a App) pauseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pause (--config FILE | --api HOST:PORT) [--node NAME] [--for DURATION]",
		Short:   "Let no recovery begin, of one node or of any",
		Example: "  healer pause --config healer.yaml --for 30m --reason \"upgrade\"\n  healer pause --config healer.yaml --node n1",
		Long: strings.TrimSpace(`
Let no recovery begin, of one node or of any. Detection goes on, and a recovery that
is under way finishes. It holds for all agents, until "healer resume" or for the time
that --for gives.`),
		Args: NoArgs,
	}
	f := a.steerAnyOf(cmd)
	node := cmd.Flags().String("node", "", "pause the recoveries of this node only")
	length := cmd.Flags().Duration("for", 0, "end by itself after this time; 0: when it is resumed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.steer(cmd, f, api.Pause, api.SteerRequest{Node: *node, For: api.Duration(*length)})
	}
	return cmd
}

func (a App) resumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resume (--config FILE | --api HOST:PORT) [--node NAME]",
		Short:   "Let recoveries begin again that were paused",
		Example: "  healer resume --config healer.yaml",
		Args:    NoArgs,
	}
	f := a.steerAnyOf(cmd)
	node := cmd.Flags().String("node", "", "resume the recoveries of this node, which was paused by its name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.steer(cmd, f, api.Resume, api.SteerRequest{Node: *node})
	}
	return cmd
}

func (a App) approveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "approve ID (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "Run a plan that waits for approval (mode: advise)",
		Example: "  healer recovery approve imyqb7k7j4f2mkrzus22s6txvy --config healer.yaml",
		Long: strings.TrimSpace(`
Run a plan that waits for approval, in mode: advise. What is approved is the plan as
it is now, or with --plan the one of that shape, as "healer status -o json" and the
event recovery.planned have it. A plan that has become another one by the time it
would run is made anew, and waits for an approval again.`),
		Args: oneRecovery,
	}
	f := a.steerFlagsOf(cmd)
	shape := cmd.Flags().String("plan", "", "approve only the plan of this `SHAPE`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.steer(cmd, f, api.Approve, api.SteerRequest{Recovery: args[0], Plan: *shape})
	}
	return cmd
}

func (a App) cancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cancel ID (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "Stop a recovery, and let it not begin again",
		Example: "  healer recovery cancel imyqb7k7j4f2mkrzus22s6txvy --config healer.yaml --dry-run",
		Long: strings.TrimSpace(`
Stop a recovery at once, and let it not begin again before "healer recovery ack". What
was carried stays, and is told; the clones, locks and marks of the recovery are
released. Nodes that were fenced off from the lost one stay so until it lives; then
they read from it again.`),
		Args: oneRecovery,
	}
	f := a.steerFlagsOf(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.steer(cmd, f, api.Cancel, api.SteerRequest{Recovery: args[0]})
	}
	return cmd
}

func (a App) ackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ack (ID | --failed NAME) (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "Have a recovery tried again that failed or was cancelled",
		Example: "  healer recovery ack --failed n3 --config healer.yaml",
		Long: strings.TrimSpace(`
Have a recovery tried again at once that failed or was cancelled. One that failed is
tried again by itself after a while; this says that what it failed for is dealt with.`),
	}
	f := a.steerFlagsOf(cmd)
	failed := cmd.Flags().String("failed", "", "the node that was lost, in the place of the recovery's id")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || (len(args) == 1) == (*failed != "") {
			return Usage(cmd, errors.New(quote(cmd.CommandPath())+" needs the ID of one recovery, or --failed NODE"))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.steer(cmd, f, api.Ack, api.SteerRequest{Recovery: strings.Join(args, ""), Node: *failed})
	}
	return cmd
}

func oneRecovery(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return Usage(cmd, errors.New(quote(cmd.CommandPath())+" needs the ID of one recovery"))
	}
	return nil
}

// steer tells the first agent that takes it, which tells the others.
func (a App) steer(cmd *cobra.Command, f steerFlags, verb api.Verb, r api.SteerRequest) error {
	r.By, r.Reason, r.DryRun = *f.by, *f.reason, *f.dry
	c, err := a.steerAgents(cmd, f, func(ctx context.Context, client *http.Client, addr, token string) (api.Controlled, error) {
		return api.PostSteer(ctx, client, addr, token, verb, r)
	})
	if err != nil {
		return err
	}
	if *f.out == asJSON {
		return writeJSON(cmd.OutOrStdout(), c)
	}
	p := &page{styles: styles()}
	if c.DryRun {
		p.line(cell{"dry run, nothing was changed:", faint}, cell{text: c.Said})
	} else {
		p.line(cell{text: c.Said})
	}
	return p.write(cmd.OutOrStdout(), a.Environ)
}
