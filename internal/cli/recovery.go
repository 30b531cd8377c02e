package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
)

// lastRecovery stands for the id of the recovery that was begun last.
const lastRecovery = "last"

func (a App) recoveryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recovery", Short: "Look at recoveries and steer them", Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.recoveryHistoryCommand(), a.recoveryShowCommand(),
		a.approveCommand(), a.cancelCommand(), a.ackCommand(),
	)
	cmd.AddCommand(a.RecoveryCommands...)
	return cmd
}

// journals is the result of both commands for programs.
type journals struct {
	// Agents has one entry for each agent asked.
	Agents []answer `json:"agents"`
	// Runs are of all agents, each once, oldest first.
	Runs []api.Run `json:"runs"`
}

// add takes a run as agent tells of it. Every agent tells of all runs; the one that
// made it knows most.
func (j *journals) add(r api.Run, agent string) {
	i := slices.IndexFunc(j.Runs, func(o api.Run) bool { return o.Run == r.Run })
	switch {
	case i < 0:
		j.Runs = append(j.Runs, r)
	case agent == r.Agent:
		j.Runs[i] = r
	}
}

// recoveryFlags are those which say whom to ask, and how to show it.
type recoveryFlags struct {
	file, node, addr *string
	out              *format
	limit            *time.Duration
}

func recoveryFlagsOf(cmd *cobra.Command) recoveryFlags {
	return recoveryFlags{
		file: ConfigFlag(cmd), out: outputFlag(cmd, asHTML),
		node:  cmd.Flags().StringP("node", "n", "", "ask the agent of this node only"),
		addr:  AgentFlags(cmd, "ask"),
		limit: cmd.Flags().Duration("timeout", 5*time.Second, "how long to wait for the agents"),
	}
}

func (a App) recoveryHistoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "history (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "List the runs of recoveries that the agents remember",
		Example: "  healer recovery history --config healer.yaml",
		Args:    NoArgs,
	}
	f := recoveryFlagsOf(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.recoveries(cmd, f, "", a.historyTable)
	}
	return cmd
}

func (a App) recoveryShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "Show one recovery: its steps, its figures, its conflicts",
		Example: "  healer recovery show last --config healer.yaml\n  healer recovery show last --config healer.yaml -o html > recovery.html",
		Long: strings.TrimSpace(`
Show one recovery by the id of it or of one of its runs, or "last": its steps with
their figures, and what became of each write that met another. All agents of the
file are asked; each tells of every run, and most of those that it made itself.

Of the conflicts all are counted and the first 1,000 of each run are listed.

-o html writes a page with a timeline that needs nothing from elsewhere.`),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return Usage(cmd, errors.New(quote(cmd.CommandPath())+" needs the ID of one recovery, or "+quote(lastRecovery)))
			}
			return nil
		},
	}
	f := recoveryFlagsOf(cmd)
	most := cmd.Flags().Int("conflicts", 20, "how many conflicts of each run the table lists")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.recoveries(cmd, f, args[0], func(cmd *cobra.Command, j journals) error {
			return a.recoveryTable(cmd, j, max(*most, 0))
		})
	}
	return cmd
}

// recoveries asks, and shows what was found.
func (a App) recoveries(cmd *cobra.Command, f recoveryFlags, id string, table func(*cobra.Command, journals) error) error {
	agents, err := a.agents(cmd, *f.file, *f.node, *f.addr)
	if err != nil {
		return err
	}
	client, err := AgentClient(cmd, a.CheckDSN)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), *f.limit)
	defer cancel()
	if id == lastRecovery {
		if id, err = last(ctx, client, slices.Clone(agents)); err != nil {
			return err
		}
	}
	j := askRuns(ctx, client, agents, id)
	switch {
	case silent(j.Agents):
		return noAnswer(j.Agents)
	case id != "" && len(j.Runs) == 0:
		return &hinted{
			code: exitError, err: fmt.Errorf("no agent that answers remembers a recovery or a run %s", quote(id)),
			hint: "see `healer recovery history`",
		}
	case *f.out == asJSON:
		return writeJSON(cmd.OutOrStdout(), j)
	case *f.out == asHTML:
		return j.html(cmd.OutOrStdout())
	default:
		return table(cmd, j)
	}
}

// last finds the recovery that was begun last.
func last(ctx context.Context, client *http.Client, agents []answer) (string, error) {
	j := askRuns(ctx, client, agents, "")
	switch {
	case silent(j.Agents):
		return "", noAnswer(j.Agents)
	case len(j.Runs) == 0:
		return "", errors.New("no agent that answers remembers a recovery")
	default:
		return j.Runs[len(j.Runs)-1].ID, nil
	}
}

func silent(agents []answer) bool {
	return !slices.ContainsFunc(agents, func(g answer) bool { return g.Error == "" })
}

// askRuns asks all agents at once.
func askRuns(ctx context.Context, client *http.Client, agents []answer, id string) journals {
	found := make([]api.Runs, len(agents))
	var wg sync.WaitGroup
	for i := range agents {
		wg.Go(func() {
			var err error
			if found[i], err = api.FetchRecoveries(ctx, client, agents[i].API, id); err != nil {
				agents[i].Error = reason(err)
			}
		})
	}
	wg.Wait()
	j := journals{Agents: agents, Runs: []api.Run{}}
	for i, f := range found {
		if agents[i].Error == "" && f.Problem != "" {
			// What could be read is shown all the same.
			agents[i].Problem = f.Problem
		}
		for _, r := range f.Runs {
			j.add(r, f.Agent)
		}
	}
	slices.SortStableFunc(j.Runs, func(a, b api.Run) int { return a.Started.Compare(b.Started) })
	return j
}
