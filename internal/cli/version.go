package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a App) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Say what this binary is", Example: "  healer version -o json", Args: NoArgs}
	out := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *out == asJSON {
			return writeJSON(cmd.OutOrStdout(), a.Build)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "healer "+a.Build.String())
		return err
	}
	return cmd
}
