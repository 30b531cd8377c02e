package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/compare"
	"healer/config"
	"healer/internal/cli"
)

// The exit codes; 64 is that of wrong usage, as everywhere.
const (
	exitDiffer  = 1
	exitUnknown = 3
)

// settings are what the flags say.
type settings struct {
	tables, between []string
	repair, dryRun  bool
	conflicts       string
	output, report  string
	quiet           bool
	// origin is the lost node whose rows are carried; empty in a mere comparison.
	origin         string
	barrierTimeout time.Duration
	compare.Options
}

// Command is `healer verify`.
func Command(check config.DSNCheck) *cobra.Command {
	s := settings{output: string(asTable), barrierTimeout: time.Minute}
	cmd := &cobra.Command{
		Use:   "verify --config FILE",
		Short: "Compare whole tables of live nodes, and repair what differs",
		Long: strings.TrimSpace(`
Compare whole tables of live nodes while they are being written. The servers hash
blocks of rows; only where the hashes differ are rows looked at, and only what still
differs when replication has caught up is reported. It needs no agent.

With --repair the last update wins, by the same decision and under the same origin,
which the mesh does not send on, as in a recovery. A row that a node lacks is put
back: that somebody deleted it cannot be told. --dry-run shows it beforehand.
--conflicts stop leaves alone, and lists, rows that several nodes have written; it is
the default where the file has recovery.conflicts: stop. --source has one node's rows
stand instead, also against later ones, and deletes what it lacks.

Exits 0 when everything was compared and is equal, or was made so, 1 when rows
differ, 3 when something could not be compared.`),
		Example: "  healer verify --config healer.yaml\n  healer verify --config healer.yaml --between n1,n2 --tables 'public.*'\n" +
			"  healer verify --config healer.yaml --repair --dry-run -o html --report diff.html",
		Args: cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&s.tables, "tables", nil, "compare these `TABLES` only: schema.table,..., with * and ?; default all that is replicated")
	f.StringSliceVar(&s.between, "between", nil, "compare these `NODES`, two at least; default all of the file")
	f.BoolVar(&s.repair, "repair", false, "make the rows that differ equal: the last update wins")
	f.StringVar(&s.origin, "origin", "", "with --repair: carry what survivors lack of this lost `NODE` as rows, for want of a slot that has its transactions")
	f.BoolVar(&s.dryRun, "dry-run", false, "with --repair: show what would be written, and write nothing")
	f.StringVar(&s.conflicts, "conflicts", "", "with --repair: `last_update_wins|stop`; default as the file's recovery.conflicts")
	f.StringVar(&s.Source, "source", "", "with --repair: make all others as this `NODE` is")
	f.StringVarP(&s.output, "output", "o", s.output, "how to write the result: `table|json|html`")
	f.StringVar(&s.report, "report", "", "write the result to `FILE` too: JSON or HTML if it ends in .json or .html")
	f.BoolVarP(&s.quiet, "quiet", "q", false, "show no progress")
	f.IntVar(&s.MaxDifferences, "max-differences", 1000, "list so many rows of a table; without --repair, look for no more")
	f.IntVar(&s.BlockRows, "block-rows", 16384, "how many rows a block has")
	f.IntVar(&s.Concurrency, "concurrency", 2, "how many blocks are compared at once, each on a connection to every node")
	f.DurationVar(&s.Pause, "pause", 0, "rest so long behind each block")
	f.DurationVar(&s.BlockTimeout, "block-timeout", time.Minute, "give up a statement that takes longer")
	f.DurationVar(&s.barrierTimeout, "barrier-timeout", s.barrierTimeout, "wait so long for replication to catch up")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return coded(s.run(cmd, *file, check))
	}
	return cmd
}

// coded gives an error without a code of its own that of a comparison that could
// not be made.
func coded(err error) error {
	var exit *cli.Exit
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &cli.Exit{Code: exitUnknown, Err: err}
}

func (s *settings) run(cmd *cobra.Command, file string, check config.DSNCheck) error {
	c, err := cli.LoadConfig(cmd, file, check)
	if err != nil {
		return err
	}
	nodes, patterns, err := s.check(c)
	if err != nil {
		return cli.Usage(cmd, err)
	}
	doc, err := s.compare(cmd, c, nodes, patterns)
	if doc == nil {
		return err
	}
	if werr := s.write(cmd.OutOrStdout(), *doc); werr != nil {
		return errors.Join(err, werr)
	}
	switch {
	case doc.Result == compare.Differ:
		return &cli.Exit{Code: exitDiffer, Err: err}
	case err == nil && doc.Result == compare.Incomplete:
		return &cli.Exit{Code: exitUnknown}
	}
	return err
}

// check makes sense of the flags.
func (s *settings) check(c *config.Config) (nodes []string, patterns []pattern, err error) {
	nodes = c.Names()
	if len(s.between) > 0 {
		nodes = slices.Clone(s.between)
	}
	if s.origin != "" {
		if _, ok := c.Node(s.origin); !ok {
			return nil, nil, fmt.Errorf("--origin %s: the file has no such node, but %s", s.origin, strings.Join(c.Names(), ", "))
		}
		if !s.repair || len(s.between) > 0 || len(s.tables) > 0 || s.Source != "" {
			return nil, nil, errors.New("--origin goes with --repair, and with none of --between, --tables and --source: what the node wrote may be in any table, on any survivor")
		}
		nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == s.origin })
	}
	slices.Sort(nodes)
	for i, n := range nodes {
		if _, ok := c.Node(n); !ok {
			return nil, nil, fmt.Errorf("--between %s: the file has no such node, but %s", n, strings.Join(c.Names(), ", "))
		}
		if i > 0 && nodes[i-1] == n {
			return nil, nil, fmt.Errorf("--between names %s twice", n)
		}
	}
	for _, t := range s.tables {
		ps, err := parsePatterns(t)
		if err != nil {
			return nil, nil, err
		}
		patterns = append(patterns, ps...)
	}
	switch {
	case len(nodes) < 2:
		return nil, nil, errors.New("--between needs two nodes at least")
	case s.dryRun && !s.repair:
		return nil, nil, errors.New("--dry-run goes with --repair: a comparison alone writes nothing")
	case !s.repair && (s.Source != "" || s.conflicts != ""):
		return nil, nil, errors.New("--source and --conflicts go with --repair: a comparison alone writes nothing")
	case s.Source != "" && s.conflicts != "":
		return nil, nil, errors.New("--source settles every conflict: leave --conflicts out")
	case s.Source != "" && !slices.Contains(nodes, s.Source):
		return nil, nil, fmt.Errorf("--source %s is not compared: name one of %s", s.Source, strings.Join(nodes, ", "))
	case s.conflicts != "" && s.conflicts != string(config.LastUpdateWins) && s.conflicts != string(config.StopAtConflict):
		return nil, nil, fmt.Errorf("--conflicts %q: use %s or %s; between live nodes none is the remote one", s.conflicts, config.LastUpdateWins, config.StopAtConflict)
	case s.output != string(asTable) && s.output != string(asJSON) && s.output != string(asHTML):
		return nil, nil, fmt.Errorf("--output %q: use table, json or html", s.output)
	case s.MaxDifferences < 1 || s.Concurrency < 1 || s.BlockRows < 2:
		return nil, nil, errors.New("--max-differences and --concurrency must be 1 at least, --block-rows 2")
	case s.Pause < 0 || s.BlockTimeout < time.Millisecond || s.barrierTimeout <= 0:
		return nil, nil, errors.New("--pause, --block-timeout and --barrier-timeout must be positive")
	}
	return nodes, patterns, nil
}

// stopsAtConflicts reports whether rows stay that several nodes have written. Of the
// policies of a recovery, those that prefer the lost node or the others say nothing
// about live nodes: there the last update wins.
func (s *settings) stopsAtConflicts(c *config.Config) bool {
	if s.conflicts != "" {
		return s.conflicts == string(config.StopAtConflict)
	}
	return c.Recovery.Conflicts == config.StopAtConflict
}

// compare runs the comparison. Without a document nothing was compared.
func (s *settings) compare(cmd *cobra.Command, c *config.Config, nodes []string, patterns []pattern) (*document, error) {
	ctx := cmd.Context()
	m, err := open(ctx, c, nodes, s.barrierTimeout)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var gap *gapRows
	if s.origin != "" {
		if gap, err = m.gapRows(ctx, s.origin); err != nil {
			return nil, err
		}
	}
	if s.repair {
		// A dry run is refused as well: it says what the repair would do.
		if err := m.guard(ctx); err != nil {
			return nil, err
		}
	}
	tables, err := m.tables(ctx, patterns)
	if err != nil {
		return nil, err
	}
	o := s.Options
	o.Cluster, o.Repair = c.Cluster, s.repair && !s.dryRun
	o.Contested = s.repair && s.Source == "" && s.stopsAtConflicts(c)
	o.Barrier, o.Guard = m.barrier, m.guard
	if !s.quiet {
		tell, end := Watch(cmd.ErrOrStderr())
		defer end()
		o.Progress = tell
	}
	if gap != nil {
		defer gap.letGo(ctx)
		if gap.deleted != nil {
			o.Deleted = append(o.Deleted, *gap.deleted)
		}
		if err := gap.begin(ctx, s.dryRun); err != nil {
			return nil, err
		}
	}
	doc := &document{DryRun: s.dryRun}
	doc.Report, err = compare.Run(ctx, m.peers(), tables, o)
	doc.Notes = append(doc.Notes, m.notes()...)
	if gap != nil {
		if err == nil && doc.Result == compare.Equal {
			err = gap.end(ctx, s.dryRun)
		}
		doc.Notes = append(doc.Notes, gap.notes(doc.Report)...)
	}
	if err != nil {
		doc.Error = err.Error()
	}
	return doc, errOf(ctx, err)
}

// errOf prefers the word of an interrupt to what it made fail.
func errOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: the comparison is not complete")
	}
	return err
}

// write writes the document where it is wanted.
func (s *settings) write(out io.Writer, doc document) error {
	if err := doc.write(out, form(s.output)); err != nil || s.report == "" {
		return err
	}
	f, err := os.Create(s.report)
	if err != nil {
		return err
	}
	kind, ok := map[string]form{".json": asJSON, ".html": asHTML, ".htm": asHTML}[strings.ToLower(filepath.Ext(s.report))]
	if !ok {
		kind = asTable
	}
	return errors.Join(doc.write(f, kind), f.Close())
}
