package drive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/topology"
)

func cloneCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "clone --node SOURCE --for LAGGARD --failed LOST --config FILE",
		Short:   "Copy the recovery slot that a node keeps for another",
		Example: "  healer slots clone --config healer.yaml --node n2 --for n3 --failed n1 --dry-run",
		Long: strings.TrimSpace(`
Copy the recovery slot that SOURCE keeps for LAGGARD, for a recovery of LOST, with the
plugin pgoutput. The copy has the name that a recovery gives it, so that one finds it,
uses it, and drops it. One that is there is kept.`),
		Args: cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	node := cmd.Flags().StringP("node", "n", "", "the `NODE` with the slot")
	to := cmd.Flags().String("for", "", "the `NODE` that the slot is kept for")
	failed := cmd.Flags().String("failed", "", "the lost `NODE`")
	dry := cmd.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) error {
			err := errors.Join(m.known("node", *node), m.known("for", *to), m.known("failed", *failed))
			if err == nil && (*node == *to || *node == *failed || *to == *failed) {
				return errors.New("--node, --for and --failed must be three nodes")
			}
			return err
		}, func(m *mesh) error {
			db := m.Servers[*node].Database()
			src, dst := topology.RecoverySlotName(db, *node, *to), topology.CloneSlotName(db, *node, *to, *failed)
			slot, err := slotOf(m.observe(cmd.Context()), *node, src)
			if err != nil {
				return err
			}
			d := done{Node: *node, Slot: src, Did: "copied to " + dst, DryRun: *dry, From: slot.Confirmed, To: slot.Confirmed}
			if !*dry {
				if err := m.Engine.CloneSlot(cmd.Context(), *node, src, dst); err != nil {
					return err
				}
			}
			return f.show(cmd.OutOrStdout(), d, d.table)
		})
	}
	return cmd
}

func advanceCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "advance --node NODE --slot NAME (--to-lsn LSN | --to-time TIME) --config FILE",
		Short: "Move one of Healer's slots forward",
		Long: strings.TrimSpace(`
Move one of Healer's slots forward, never back: to a position in its node's log, or to
the first transaction whose commit timestamp is TIME or later, which is then the first
that the slot still has. That transaction is found by decoding the node's log through
a copy of the slot, which is gone in the end, and its position is told. A transaction
that came from another node bears the time of that node's clock.

What a slot has passed is gone for whom it is kept for. A recovery slot, which the
agents move as far as is safe, is moved only when its name is repeated with --yes.`),
		Example: "  healer slots advance --config healer.yaml --node n2 --slot healer_app_clone_n2_n3_n1_c --to-time 2026-01-31T12:00:00Z --dry-run",
		Args:    cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	node := cmd.Flags().StringP("node", "n", "", "the `NODE` with the slot")
	name := cmd.Flags().String("slot", "", "the slot's `NAME`")
	lsn := cmd.Flags().String("to-lsn", "", "move it to this `LSN` of the node's log")
	at := cmd.Flags().String("to-time", "", "move it before the first commit of this `TIME` (RFC 3339) or later")
	yes := cmd.Flags().String("yes", "", "the slot's `NAME` again, for a recovery slot")
	dry := cmd.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
	var when time.Time
	var to topology.LSN
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) (err error) {
			switch {
			case (*lsn == "") == (*at == ""):
				return errors.New("give either --to-lsn or --to-time")
			case *name == "":
				return errors.New("--slot is missing: healer slots list has the names")
			case *lsn != "":
				to, err = topology.ParseLSN(*lsn)
			default:
				when, err = time.Parse(time.RFC3339, *at)
			}
			return errors.Join(err, m.known("node", *node))
		}, func(m *mesh) error {
			slot, err := slotOf(m.observe(cmd.Context()), *node, *name)
			if err != nil {
				return err
			}
			if err := ours(*node, slot, *yes, "move"); err != nil {
				return err
			}
			d := done{Node: *node, Slot: *name, DryRun: *dry, From: slot.Confirmed, To: to}
			if *at != "" {
				if d, err = m.find(cmd.Context(), d, when); err != nil {
					return err
				}
			}
			if !*dry {
				if d.To, err = m.Engine.AdvanceSlot(cmd.Context(), *node, *name, d.To); err != nil {
					return err
				}
			}
			d.Did = fmt.Sprintf("moved from %s to %s", d.From, max(d.From, d.To))
			return f.show(cmd.OutOrStdout(), d, d.table)
		})
	}
	return cmd
}

// find looks for the first commit at when or later.
func (m *mesh) find(ctx context.Context, d done, when time.Time) (done, error) {
	c, ok, err := m.Servers[d.Node].FirstCommit(ctx, d.Slot, when)
	switch {
	case err != nil:
		return d, err
	case !ok:
		return d, &topology.Fault{
			Code: "no_such_commit", Node: d.Node, Hint: "name an earlier time",
			Err: fmt.Errorf("no published transaction behind slot %s has a commit timestamp of %s or later", d.Slot, when.Format(time.RFC3339)),
		}
	}
	d.To = c.Begin
	d.Note = fmt.Sprintf("the first transaction of %s or later commits at %s, at %s", when.Format(time.RFC3339Nano), c.Begin, c.At.UTC().Format(time.RFC3339Nano))
	return d, nil
}

// ours refuses a slot that is not Healer's, and a recovery slot that was not
// named twice.
func ours(node string, s topology.Slot, again, verb string) error {
	switch s.Kind {
	case topology.SlotClone, topology.SlotSeed:
		return nil
	case topology.SlotRecovery:
		if again == s.Name {
			return nil
		}
		return &topology.Fault{
			Code: "not_confirmed", Node: node, Hint: "--yes " + s.Name,
			Err: fmt.Errorf("slot %s holds what %s may lack: repeat its name to %s it all the same", s.Name, s.To, verb),
		}
	default:
		return &topology.Fault{
			Code: "not_ours", Node: node, Hint: "use the tool that made it",
			Err: fmt.Errorf("slot %s is not one of Healer's: it is not Healer's to %s", s.Name, verb),
		}
	}
}

func dropCommand(check config.DSNCheck) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "drop --node NODE --slot NAME --config FILE",
		Short:   "Drop a slot",
		Example: "  healer slots drop --config healer.yaml --node n2 --slot healer_app_clone_n2_n3_n1_c --dry-run",
		Long: strings.TrimSpace(`
Drop one of Healer's seeds or clones. A recovery slot, and a slot that is not Healer's,
is dropped only when its name is repeated with --yes: what it holds for somebody is gone
then. The agents make a new recovery slot where one is missing.`),
		Args: cli.NoArgs,
	}
	f := flagsOf(cmd, check)
	node := cmd.Flags().StringP("node", "n", "", "the `NODE` with the slot")
	name := cmd.Flags().String("slot", "", "the slot's `NAME`")
	yes := cmd.Flags().String("yes", "", "the slot's `NAME` again, for one that somebody may need")
	dry := cmd.Flags().Bool("dry-run", false, "say what would be done, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.run(cmd, func(m *mesh) error {
			if *name == "" {
				return errors.New("--slot is missing: healer slots list --all has the names")
			}
			return m.known("node", *node)
		}, func(m *mesh) error {
			slot, err := slotOf(m.observe(cmd.Context()), *node, *name)
			if err != nil {
				return err
			}
			if err := ours(*node, slot, *yes, "drop"); err != nil && *yes != *name {
				var fault *topology.Fault
				if errors.As(err, &fault) {
					fault.Hint = "--yes " + *name + ", if nobody needs it any more"
				}
				return err
			}
			d := done{Node: *node, Slot: *name, Did: "dropped", DryRun: *dry, From: slot.Confirmed}
			if !*dry {
				if err := m.Servers[*node].DropSlot(cmd.Context(), *name, slot.Kind == topology.SlotClone); err != nil {
					return err
				}
			}
			return f.show(cmd.OutOrStdout(), d, d.table)
		})
	}
	return cmd
}
