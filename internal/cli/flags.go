package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

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
	asHTML  = "html"
)

// format is how a result is written.
type format string

// formatFlag is the value of -o: one of the forms that the command has.
type formatFlag struct {
	value *format
	among []string
}

var _ pflag.Value = formatFlag{}

// outputFlag adds -o to a command, with further forms beside the table and JSON.
func outputFlag(cmd *cobra.Command, more ...string) *format {
	f := format(asTable)
	flag := formatFlag{&f, append([]string{asTable, asJSON}, more...)}
	cmd.Flags().VarP(flag, "output", "o", "how to write the result: `"+flag.Type()+"`")
	return &f
}

// String implements pflag.Value.
func (f formatFlag) String() string {
	if f.value == nil { // pflag asks the zero value
		return ""
	}
	return string(*f.value)
}

// Type implements pflag.Value.
func (f formatFlag) Type() string { return strings.Join(f.among, "|") }

// Set implements pflag.Value.
func (f formatFlag) Set(s string) error {
	if !slices.Contains(f.among, s) {
		last := len(f.among) - 1
		return fmt.Errorf("use %s or %s", strings.Join(f.among[:last], ", "), f.among[last])
	}
	*f.value = format(s)
	return nil
}

// writeJSON writes v for programs, and readably all the same.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
