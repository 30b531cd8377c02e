package chaoscmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"healer/chaos/fault"
	"healer/config"
	"healer/internal/cli"
)

// The exit codes beside those of the command line.
const (
	exitViolated    = 2
	exitInterrupted = 130
)

// Command is `healer chaos`.
func Command(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a cluster on purpose, and judge what becomes of it",
		Long: strings.TrimSpace(`
Makes faults, lets clients write meanwhile, and judges what Healer made of it: nothing
lost, nothing doubled, all equal. soak and replay do so on a real cluster of this
machine, which they start and remove; run makes faults in a staging cluster of yours.`),
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(soakCommand(), replayCommand(), runCommand(check), faultsCommand())
	return cmd
}

// faultsCommand shows the table of faults.
func faultsCommand() *cobra.Command {
	output := "table"
	cmd := &cobra.Command{
		Use: "faults", Short: "List the faults that can be made, with their parameters", Args: cli.NoArgs,
		Example: "  healer chaos faults\n  healer chaos faults -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "json":
				return writeJSON(cmd.OutOrStdout(), fault.Kinds())
			case "table":
				w := cmd.OutOrStdout()
				for _, k := range fault.Kinds() {
					where := "local"
					if k.Staging {
						where = "local, staging"
					}
					fmt.Fprintf(w, "%-22s %-15s %s\n", k.Kind, where, k.Text)
				}
				return nil
			}
			return badOutput(cmd, output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", *output, "how to write the result: `table|json`")
}

func badOutput(cmd *cobra.Command, output string) error {
	return cli.Usage(cmd, fmt.Errorf("--output %q: use table or json", output))
}

// violated is the end of runs that have shown a violation; all has been said.
func violated(format string, args ...any) error {
	return &cli.Exit{Code: exitViolated, Err: fmt.Errorf(format, args...)}
}

// interrupted is the end by a signal.
func interrupted() error {
	return &cli.Exit{Code: exitInterrupted, Err: errors.New("interrupted; every fault was healed, and what was started was ended")}
}
