package drive

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
)

// RecoveryCommands are what this package adds to `healer recovery`.
func RecoveryCommands(check config.DSNCheck) []*cobra.Command {
	return []*cobra.Command{planCommand(check), runCommand(check), watermarkCommand(check)}
}

// flags are those of every command here.
type flags struct {
	file   *string
	output string
	check  config.DSNCheck
}

func flagsOf(cmd *cobra.Command, check config.DSNCheck) *flags {
	f := &flags{file: cli.ConfigFlag(cmd), check: check}
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "how to write the result: `table|json`")
	return f
}

// run opens the cluster for fn. An error of check is one of usage.
func (f *flags) run(cmd *cobra.Command, check func(*mesh) error, fn func(*mesh) error) error {
	c, err := cli.LoadConfig(cmd, *f.file, f.check)
	if err != nil {
		return err
	}
	if f.output != "table" && f.output != "json" {
		return cli.Usage(cmd, fmt.Errorf("--output %q: use table or json", f.output))
	}
	m, err := open(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := check(m); err != nil {
		return cli.Usage(cmd, err)
	}
	return fn(m)
}

// show writes the result as JSON, or as the table that fn writes.
func (f *flags) show(w io.Writer, v any, fn func(io.Writer)) error {
	if f.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fn(t)
	return t.Flush()
}

func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(texts, "\t"), "\t"))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
