package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/topology"
)

// hinted is an error with its remedy and, as an Exit, its code.
type hinted struct {
	code int
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }

// Unwrap gives the cause and, so that Run finds the code, an Exit.
func (h *hinted) Unwrap() []error { return []error{h.err, &Exit{Code: h.code, Err: h.err}} }

// Usage is the error of a command that was wrongly called.
func Usage(cmd *cobra.Command, err error) error {
	return &hinted{code: exitUsage, err: err, hint: "see " + quote(cmd.CommandPath()+" --help")}
}

// Hint is an error with its remedy; the command exits with 1.
func Hint(err error, remedy string) error { return &hinted{code: exitError, err: err, hint: remedy} }

// complain writes an error and its remedy to standard error.
func (a App) complain(err error) {
	var file *config.Error
	if errors.As(err, &file) {
		// It has places and remedies already, one for each problem.
		fmt.Fprintf(a.Stderr, "healer: the file cannot be used\n%s\n", file)
		return
	}
	msg, hint := err.Error(), ""
	var h *hinted
	var f *topology.Fault
	switch {
	case errors.As(err, &h):
		hint = h.hint
	case errors.As(err, &f) && f.Hint != "":
		hint = f.Hint
		msg = strings.Replace(msg, " ("+f.Hint+")", "", 1)
	}
	fmt.Fprintf(a.Stderr, "healer: %s\n", Clean(msg))
	if hint != "" {
		fmt.Fprintf(a.Stderr, "  hint: %s\n", Clean(hint))
	}
}

func quote(s string) string { return "`" + s + "`" }
