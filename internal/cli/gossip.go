package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"healer/detector/gossip"
)

func (a App) gossipCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "gossip", Short: "Look after the gossip between agents", Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(gossipKeygenCommand())
	return cmd
}

func gossipKeygenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keygen",
		Short:   "Print a fresh key for the file named by gossip.keys",
		Example: "  (umask 077; healer gossip keygen > /etc/healer/gossip.keys)",
		Long: `Print a fresh random key of 32 bytes, in base64, for the file named by gossip.keys.
Nothing is written: put the key into the file on every node, one key a line. The
first key of a file is the one that its agent sends with, all of them are accepted.

    (umask 077; healer gossip keygen > /etc/healer/gossip.keys)`,
		Args: NoArgs,
	}
	out := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		key := gossip.NewKey()
		if *out == asJSON {
			return writeJSON(cmd.OutOrStdout(), struct {
				Key string `json:"key"`
			}{key})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), key)
		return err
	}
	return cmd
}
