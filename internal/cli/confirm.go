package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Confirm shows what would be done, on standard error, says what that means, and
// asks for the name. What was typed instead is an error with exit code 1.
func Confirm(cmd *cobra.Command, name, means string, show func(io.Writer) error) error {
	if err := show(cmd.ErrOrStderr()); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s Type its name to go on: ", means)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != name {
		return &Exit{Code: exitError, Err: fmt.Errorf("%q is not the name %s: nothing was done (or give --yes)", strings.TrimSpace(line), name)}
	}
	return nil
}
