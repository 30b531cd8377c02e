package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exits is what holds for every command that does not say it otherwise.
const exits = "Exits 0 when it is done, 1 when it failed, 64 when it was wrongly called."

// exitWords are the sentences of a command's help on its exit codes.
func exitWords(cmd *cobra.Command) string {
	for _, par := range strings.Split(cmd.Long, "\n\n") {
		if strings.Contains(par, "Exits ") || strings.Contains(par, "exits ") || strings.Contains(par, "exit code") {
			return par
		}
	}
	return exits
}

// documented completes the help of all commands: their exit codes are part of it.
func documented(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		documented(sub)
	}
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	if cmd.RunE != nil && !cmd.HasSubCommands() && exitWords(cmd) == exits {
		cmd.Long += "\n\n" + exits
	}
}

func (a App) manCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "man --dir DIR", Short: "Write a manual page for every command", Hidden: true,
		Long:    "Write a manual page for every command, of section 1, into a directory that is there.",
		Example: "  healer man --dir /usr/local/share/man/man1",
		Args:    NoArgs,
	}
	dir := cmd.Flags().String("dir", "", "the `DIR`ectory to write to")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *dir == "" {
			return Usage(cmd, errors.New("`healer man` needs --dir DIR"))
		}
		return writePages(cmd.Root(), *dir, a.Build.Version)
	}
	return cmd
}

// writePages writes the page of a command and of those below it.
func writePages(cmd *cobra.Command, dir, version string) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(manPage(cmd, version)), 0o644); err != nil { //nolint:gosec // manuals are for everybody
		return err
	}
	for _, sub := range cmd.Commands() {
		if err := writePages(sub, dir, version); err != nil {
			return err
		}
	}
	return nil
}

// manPage is the page of one command in roff, as man(7) has it.
func manPage(cmd *cobra.Command, version string) string {
	var b strings.Builder
	path := cmd.CommandPath()
	name := strings.ReplaceAll(path, " ", "-")
	fmt.Fprintf(&b, ".TH %q 1 \"\" %q \"Healer\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), "healer "+version, roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	section := func(title, text string) {
		if text = strings.Trim(text, "\n"); text != "" {
			b.WriteString(".SH " + title + "\n.nf\n" + roff(text) + "\n.fi\n")
		}
	}
	section("DESCRIPTION", cmd.Long)
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
			}
		}
	}
	b.WriteString(".SH OPTIONS\n")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		arg, usage := pflag.UnquoteUsage(f)
		flag := "--" + f.Name
		if f.Shorthand != "" {
			flag = "-" + f.Shorthand + ", " + flag
		}
		if arg != "" {
			flag += " " + arg
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(flag), roff(usage))
	})
	b.WriteString(".TP\n.B \\-h, \\-\\-help\nshow the help\n")
	section("EXAMPLES", cmd.Example)
	section("EXIT STATUS", exitWords(cmd))
	if cmd.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-")))
	}
	return b.String()
}

// roff is a text as roff reads it: nothing in it is a request or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
