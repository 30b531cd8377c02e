package chaoscmd

import (
	"errors"

	"github.com/spf13/cobra"

	"healer/config"
)

func runCommand(config.DSNCheck) *cobra.Command {
	return &cobra.Command{Use: "run", RunE: func(*cobra.Command, []string) error { return errors.New("soon") }, Hidden: true}
}
