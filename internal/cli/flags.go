package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"healer/config"
)

// ConfigFlag adds --config to a command that cannot do without it.
func ConfigFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("config", "c", "", "the cluster's `FILE`")
}

// LoadConfig loads what --config names. Its errors are ready to be returned by
// a command.
func LoadConfig(cmd *cobra.Command, path string, check config.DSNCheck) (*config.Config, error) {
	if path == "" {
		return nil, Usage(cmd, fmt.Errorf("%s needs --config FILE", quote(cmd.CommandPath())))
	}
	return config.Load(path, check)
}

// The forms of output.
const (
	asTable = "table"
	asJSON  = "json"
)

// format is the value of -o.
type format string

var _ pflag.Value = (*format)(nil)

// outputFlag adds -o to a command.
func outputFlag(cmd *cobra.Command) *format {
	f := format(asTable)
	cmd.Flags().VarP(&f, "output", "o", "how to write the result: `table|json`")
	return &f
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "table|json" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if s != asTable && s != asJSON {
		return fmt.Errorf("use %s or %s", asTable, asJSON)
	}
	*f = format(s)
	return nil
}

// writeJSON writes v for programs, and readably all the same.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
