package drive

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/internal/steps"
	"healer/planner"
	"healer/topology"
)

// exitSomething is the exit code of a plan with steps, when asked for.
const exitSomething = 2

// planned is the result of `healer recovery plan` for programs.
type planned struct {
	planner.Plan
	// Lost are the nodes the plan takes for lost: the one asked about, and
	// those that do not answer.
	Lost    []string         `json:"lost"`
	Refusal *planner.Refusal `json:"refusal,omitempty"`
}

func planCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan --failed NODE --config FILE",
		Short: "Show what a recovery of the node would do, and do nothing",
		Long: strings.TrimSpace(`
Show what a recovery of the node would do if it were lost now, and do nothing. It may
well be alive. The servers of the file are asked, no agent is needed. Other nodes
that do not answer are taken for lost as well.

Before the survivors are fenced off, all behind the observe step is an estimate: what
is on its way to them may still arrive.

Exits 1 when a recovery would be refused; with --detailed-exitcode 0 when there is
nothing to do and 2 when there is something.`),
		Example: "  healer recovery plan --config healer.yaml --failed n1",
		Args:    cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	failed := cmd.Flags().String("failed", "", "the `NODE` that is lost, or might be")
	detailed := cmd.Flags().Bool("detailed-exitcode", false, "exit 2 when there is something to do")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) error { return m.known("failed", *failed) }, func(m *mesh) error {
			obs := m.observe(cmd.Context())
			t := m.trigger(cmd.Context(), obs, *failed)
			pol := planner.Policy{Mode: planner.ModeAuto, Quorum: planner.Quorum(m.cfg.Detection.Quorum), Rows: m.cfg.Recovery.Fallback == config.CarryRows}
			p, refusal, err := steps.Plan(cmd.Context(), m.Engine, t, obs, pol)
			if err != nil {
				return err
			}
			if err := f.show(cmd.OutOrStdout(), planned{p, t.Lost, refusal}, func(w io.Writer) {
				if refusal == nil || !p.Empty() {
					explain(w, p, t, obs)
				}
			}); err != nil {
				return err
			}
			switch {
			case refusal != nil:
				return &topology.Fault{Code: string(refusal.Reason), Hint: refusal.Remedy, Err: refusal}
			case *detailed && !p.Empty():
				return &cli.Exit{Code: exitSomething}
			}
			return nil
		})
	}
	return cmd
}

func explain(w io.Writer, p planner.Plan, t planner.Trigger, obs topology.Observation) {
	if n, _ := obs.Node(t.Node); n.Reachable {
		fmt.Fprintf(w, "%s answers: this is what its loss would ask for\n", t.Node)
	}
	if len(t.Lost) > 1 {
		fmt.Fprintf(w, "not answering and taken for lost: %s\n", strings.Join(t.Lost[1:], ", "))
	}
	fmt.Fprint(w, planner.Explain(p))
}
