package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
)

func (a App) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Look at the cluster's file", Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configCheckCommand())
	return cmd
}

// checked is the result of a check for programs.
type checked struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Cluster  string           `json:"cluster,omitempty"`
	Nodes    []string         `json:"nodes,omitempty"`
	Problems []config.Problem `json:"problems"`
}

func (a App) configCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check --config FILE",
		Short:   "Report everything that is wrong with the file, without connecting anywhere",
		Example: "  healer config check --config healer.yaml",
		Long: "Report everything that is wrong with the file, without connecting anywhere.\n" +
			"Exits 0 when an agent would start with it, 1 when it would not.",
		Args: NoArgs,
	}
	file, out := ConfigFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := LoadConfig(cmd, *file, a.CheckDSN)
		var bad *config.Error
		switch w := cmd.OutOrStdout(); {
		case errors.As(err, &bad) && *out == asJSON:
			if err := writeJSON(w, checked{File: *file, Problems: bad.Problems}); err != nil {
				return err
			}
			return &Exit{Code: exitError}
		case err != nil:
			return err
		case *out == asJSON:
			return writeJSON(w, checked{File: *file, OK: true, Cluster: c.Cluster, Nodes: c.Names(), Problems: []config.Problem{}})
		default:
			return summarise(w, *file, c)
		}
	}
	return cmd
}

// summarise says in one line what the file describes.
func summarise(w io.Writer, file string, c *config.Config) error {
	bus := "NATS embedded"
	if !c.EmbeddedNATS() {
		bus = "NATS external"
	}
	members := strings.Join(c.Names(), ", ")
	if len(c.Witnesses) > 0 {
		members += "; witnesses " + strings.Join(c.WitnessNames(), ", ")
	}
	_, err := fmt.Fprintf(w, "%s: ok: cluster %s, %d nodes (%s), engine %s, mode %s, quorum %s, %s\n",
		file, c.Cluster, len(c.Nodes), members, c.Engine, c.Mode, c.Detection.Quorum, bus)
	return err
}
