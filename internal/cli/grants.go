package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"healer/postgres/grants"
)

// granted is the answer for programs.
type granted struct {
	Cluster    string             `json:"cluster"`
	Nodes      []string           `json:"nodes"`
	Role       string             `json:"role"`
	Statements []grants.Statement `json:"statements"`
}

func (a App) grantsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "grants --config FILE",
		Short:   "Print the SQL that gives Healer's role all it needs, and no more",
		Example: "  healer grants --config healer.yaml \n   psql -v ON_ERROR_STOP=1 -h n1 -d app\n  healer grants --config healer.yaml --role ops -o json",
		Long: `Print the SQL that gives Healer's role all it needs, and no more, without connecting
anywhere. A superuser runs it in the database of each node, and again when what is
replicated has a new owner:

    healer grants --config healer.yaml | psql -v ON_ERROR_STOP=1 -h n1 -d app

docs/privileges.md says what each grant is for.`,
		Args: NoArgs,
	}
	file, out := ConfigFlag(cmd), cmd.Flags().StringP("output", "o", "text", "how to write the result: `text|json`")
	role := cmd.Flags().String("role", "healer", "the `ROLE` that the agents' DSNs name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := LoadConfig(cmd, *file, a.CheckDSN)
		if err != nil {
			return err
		}
		switch {
		case !grants.Valid(*role):
			return Usage(cmd, fmt.Errorf("--role %q: no role can have that name", *role))
		case *out == "json":
			return writeJSON(cmd.OutOrStdout(), granted{c.Cluster, c.Names(), *role, grants.Statements(*role)})
		case *out != "text":
			return Usage(cmd, errors.New("--output "+quote(*out)+": use text or json"))
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "-- Cluster %s: to be run by a superuser in the database of each of %s.\n\n%s",
			c.Cluster, strings.Join(c.Names(), ", "), grants.Script(*role))
		return err
	}
	return cmd
}
