package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"healer/api"
)

// completeWithin bounds what a shell waits for when a name is completed.
const completeWithin = 2 * time.Second

// complete teaches cmd, and all commands below it, what their words may be: names of
// nodes out of the file or from an agent, recoveries from the agents, forms of output.
func (a App) complete(cmd *cobra.Command) {
	flags := cmd.Flags()
	offer := func(flag string, words cobra.CompletionFunc) {
		if flags.Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, words) // it fails where one is registered: that one stays
		}
	}
	for _, flag := range []string{"node", "failed", "source", "target"} {
		offer(flag, a.nodeWords)
	}
	offer("config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	})
	if out := flags.Lookup("output"); out != nil {
		offer("output", cobra.FixedCompletions(forms(out), cobra.ShellCompDirectiveNoFileComp))
	}
	if cmd.ValidArgsFunction == nil && cmd.RunE != nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = a.wordsOf(cmd)
	}
	for _, sub := range cmd.Commands() {
		a.complete(sub)
	}
}

// wordsOf are a command's words, by what its usage line calls the first of them.
func (a App) wordsOf(cmd *cobra.Command) cobra.CompletionFunc {
	_, rest, _ := strings.Cut(cmd.Use, " ")
	first, _, _ := strings.Cut(strings.TrimLeft(rest, "("), " ")
	switch first {
	case "NODE", "NAME":
		return onlyFirst(a.nodeWords)
	case "ID":
		return onlyFirst(a.recoveryWords)
	}
	return cobra.NoFileCompletions
}

// onlyFirst offers nothing once there is a word.
func onlyFirst(words cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(cmd, args, begun)
	}
}

// forms are those of -o, as its usage names them.
func forms(f *pflag.Flag) []string {
	name, _ := pflag.UnquoteUsage(f)
	return strings.Split(name, "|")
}

// value is what a flag was given, "" where the command has none of the name.
func value(cmd *cobra.Command, flag string) string {
	if f := cmd.Flags().Lookup(flag); f != nil {
		return f.Value.String()
	}
	return ""
}

// nodeWords are the members that the file names, or those that an agent knows.
func (a App) nodeWords(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if c, err := LoadConfig(cmd, value(cmd, "config"), a.CheckDSN); err == nil {
		return append(c.Names(), c.WitnessNames()...), none
	}
	addr := strings.TrimPrefix(value(cmd, "api"), overTLS)
	client, err := AgentClient(cmd, a.CheckDSN)
	if addr == "" || err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	s, err := api.FetchStatus(ctx, client, addr)
	if err != nil {
		return nil, none
	}
	var names []string
	for _, n := range s.Nodes {
		names = append(names, Clean(n.Name))
	}
	return names, none
}

// recoveryWords are the recoveries that the agents remember, the newest first.
func (a App) recoveryWords(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	agents, err := a.agents(cmd, value(cmd, "config"), "", value(cmd, "api"))
	if err != nil {
		return nil, none
	}
	client, err := AgentClient(cmd, a.CheckDSN)
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	var words []string
	if cmd.Name() == "show" {
		words = append(words, cobra.CompletionWithDesc(lastRecovery, "the recovery that was begun last"))
	}
	seen := map[string]bool{}
	for _, r := range slices.Backward(askRuns(ctx, client, agents, "").Runs) {
		if !seen[r.ID] {
			seen[r.ID] = true
			words = append(words, cobra.CompletionWithDesc(Clean(r.ID), Clean(r.Kind+" of "+r.Node+" "+r.State)))
		}
	}
	return words, none
}
