package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
	"healer/internal/reach"
)

// report is the result for programs.
type report struct {
	Cluster  string    `json:"cluster"`
	Nodes    []node    `json:"nodes"`
	Problems []problem `json:"problems"`
	Blocking int       `json:"blocking"`
	Warnings int       `json:"warnings"`
}

type node struct {
	Name      string `json:"name"`
	Reachable bool   `json:"reachable"`
	// Version is server_version_num.
	Version int `json:"version,omitempty"`
	// ClockMS is how far the clock is ahead of this machine's, in milliseconds,
	// give or take ClockGiveMS; nil when it is not known.
	ClockMS     *float64 `json:"clock_ms,omitempty"`
	ClockGiveMS *float64 `json:"clock_give_ms,omitempty"`
}

// Command returns `healer doctor`.
func Command(dsn config.DSNCheck) *cobra.Command {
	output := "table"
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Check every server for what Healer needs, and say what mends it",
		Long: strings.TrimSpace(`
Read every server of the file as its dsn's role, and name each prerequisite that is not
met, with the SQL, the setting or the command that mends it: settings, privileges, free
slots and walsenders, a subscription from every node to every other and the slots that
feed them, keys of the replicated tables, what servers of several majors cannot do with
one another, the clocks, Patroni. It changes nothing, and needs no agent; those that run
are asked for their versions.

Exits 0 when nothing blocks a recovery, 1 when something does or a server cannot be read.`),
		Example: "  healer doctor --config healer.yaml\n  healer doctor --config healer.yaml -o json | jq '.problems[].remedy'",
		Args:    cli.NoArgs,
	}
	file := cli.ConfigFlag(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", output, "how to write the result: `table|json`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := cli.LoadConfig(cmd, *file, dsn)
		if err != nil {
			return err
		}
		if output != "table" && output != "json" {
			return cli.Usage(cmd, fmt.Errorf("--output %q: use table or json", output))
		}
		r, err := reach.Open(c, nil)
		if err != nil {
			return err
		}
		defer r.Close()
		rep := reportOf(c.Cluster, read(cmd.Context(), c, r))
		if err := rep.write(cmd.OutOrStdout(), output); err != nil {
			return err
		}
		if rep.Blocking > 0 {
			return &cli.Exit{Code: 1}
		}
		return nil
	}
	return cmd
}

func reportOf(cluster string, r reading) report {
	rep := report{Cluster: cluster, Nodes: []node{}, Problems: check(r)}
	for _, n := range r.obs.Nodes {
		out := node{Name: n.Name, Reachable: n.Reachable, Version: n.Version}
		if c := r.extras[n.Name].clock; c.known {
			ms := func(d time.Duration) *float64 { f := float64(d.Microseconds()) / 1000; return &f }
			out.ClockMS, out.ClockGiveMS = ms(c.offset), ms(c.give)
		}
		rep.Nodes = append(rep.Nodes, out)
	}
	for _, p := range rep.Problems {
		switch p.Severity {
		case blocking:
			rep.Blocking++
		case warning:
			rep.Warnings++
		case info:
		}
	}
	return rep
}

func (r report) write(w io.Writer, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

// text is the report for people: each problem with what mends it below, so that it
// can be copied.
func (r report) text() string {
	var b strings.Builder
	for _, n := range r.Nodes {
		said := 0
		fmt.Fprintf(&b, "%s  %s\n", cli.Clean(n.Name), n.what())
		for _, p := range r.Problems {
			if p.Node == n.Name {
				p.text(&b)
				said++
			}
		}
		if said == 0 {
			b.WriteString("  all is as it has to be\n")
		}
	}
	for _, p := range r.Problems {
		if p.Node == "" {
			p.text(&b)
		}
	}
	plural := "s"
	if r.Warnings == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "\n%s: %d blocking, %d warning%s\n", cli.Clean(r.Cluster), r.Blocking, r.Warnings, plural)
	return b.String()
}

func (n node) what() string {
	if !n.Reachable {
		return "not reachable"
	}
	return fmt.Sprintf("PostgreSQL %d.%d", n.Version/10000, n.Version%10000)
}

func (p problem) text(b *strings.Builder) {
	fmt.Fprintf(b, "  %-8s  %s: %s\n            %s\n", p.Severity, p.Code, cli.Clean(p.Detail), cli.Clean(p.Remedy))
}
