package discover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"healer/config"
	"healer/internal/cli"
)

// settings are what the flags say.
type settings struct {
	dsn, out, cluster, output string
	ignored                   []string
	ports                     ports
	force, dry                bool
}

// Command is `healer init`. Environ is as in cli.App.
func Command(check config.DSNCheck, environ []string) *cobra.Command {
	s := settings{}
	cmd := &cobra.Command{
		Use:   "init --dsn DSN",
		Short: "Write a cluster's file from what the servers' catalogs say",
		Long: strings.TrimSpace(`
Write a cluster's file, beginning at one server. Its subscriptions lead to the other
nodes, and theirs to the rest: every server is asked who it is, so that one which is met
twice is known again. The servers are only read, by the role of DSN, which every one of
them has to let in from here.

No password gets into the file: passfile, service and certificates stay as they are
given, a password is left out and the file says where to put it. A subscription that is
no part of the mesh, and a slot that feeds nobody in the file, are told.

It refuses to overwrite a file without --force. What has to be looked at is at the
beginning of the file. Exits 0 when the file was written, 1 when not.`),
		Example: "  healer init --dsn 'host=10.0.0.1 dbname=app user=healer passfile=/etc/healer/pgpass' --out /etc/healer/healer.yaml\n" +
			"  PGPASSWORD=... healer init --dsn postgres://healer@10.0.0.1/app --dry-run",
		Args: cli.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&s.dsn, "dsn", "", "one node's connection string, `DSN`, as a URL or as keyword=value words")
	f.StringVar(&s.out, "out", "healer.yaml", "the `FILE` to write")
	f.StringVar(&s.cluster, "cluster", "", "the cluster's `NAME`; default: the database's")
	f.StringArrayVar(&s.ignored, "ignore", nil, "a `SUBSCRIPTION` that is not to be followed; may be repeated")
	f.IntVar(&s.ports.gossip, "gossip-port", 7941, "the first `PORT` of the agents' gossip; agents on one host count on")
	f.IntVar(&s.ports.api, "api-port", 8081, "the first `PORT` of the agents' HTTP server")
	f.IntVar(&s.ports.nats, "nats-port", 4222, "the first `PORT` of the embedded NATS for clients")
	f.IntVar(&s.ports.route, "nats-cluster-port", 6222, "the first `PORT` of the embedded NATS for its peers")
	f.BoolVar(&s.force, "force", false, "overwrite the file")
	f.BoolVar(&s.dry, "dry-run", false, "show the file and write nothing")
	f.StringVarP(&s.output, "output", "o", "table", "how to write the result: `table|json`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		given, err := s.check(environ)
		if err != nil {
			return cli.Usage(cmd, err)
		}
		return s.run(cmd, given, check, environ)
	}
	return cmd
}

// check reads the flags.
func (s *settings) check(environ []string) (params, error) {
	if s.dsn == "" {
		return nil, errors.New("`healer init` needs --dsn DSN, the connection string of one node")
	}
	given, err := parseDSN(s.dsn)
	if err != nil {
		return nil, fmt.Errorf("--dsn cannot be read: %w", err)
	}
	if s.output != "table" && s.output != "json" {
		return nil, fmt.Errorf("--output %q: use table or json", s.output)
	}
	if s.cluster != "" && clusterName(s.cluster) != s.cluster {
		return nil, fmt.Errorf("--cluster %q: use at most 32 of [a-z0-9-], beginning with a letter or a digit, such as app", s.cluster)
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"gossip-port", s.ports.gossip}, {"api-port", s.ports.api}, {"nats-port", s.ports.nats}, {"nats-cluster-port", s.ports.route}} {
		if p.port < 1 || p.port > 65000 {
			return nil, fmt.Errorf("--%s %d: use 1 to 65000", p.flag, p.port)
		}
	}
	return given.fromEnviron(environ), nil
}

// clusterName makes a cluster's name of a text.
func clusterName(s string) string {
	s = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-")
	if s = strings.Trim(s, "-"); len(s) > 32 {
		s = strings.Trim(s[:32], "-")
	}
	return orElse(s, "cluster")
}

func (s *settings) run(cmd *cobra.Command, given params, check config.DSNCheck, environ []string) error {
	if !s.dry && !s.force {
		if _, err := os.Stat(s.out); !errors.Is(err, fs.ErrNotExist) {
			return cli.Hint(fmt.Errorf("%s is there already", s.out), "give --force to overwrite it, or another --out")
		}
	}
	w := walk{given: given, ignored: s.ignored, reader: read}
	m, err := w.find(cmd.Context())
	if err != nil {
		return err
	}
	p := planOf(orElse(s.cluster, clusterName(m.nodes[0].Database)), m, s.ports, environ)
	text := p.text()
	if _, err := config.Parse(s.out, []byte(text), check); err != nil {
		return fmt.Errorf("what was found makes no file that an agent would start with: %w", err)
	}
	if !s.dry {
		if err := write(s.out, text); err != nil {
			return err
		}
	}
	return s.show(cmd.OutOrStdout(), p, text)
}

// write puts the file in its place as a whole. Its directory has to be there.
func write(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".healer-init-*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is of no use
	}
	return err
}

func (s *settings) show(w io.Writer, p plan, text string) error {
	if s.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(struct {
			File    string `json:"file"`
			Written bool   `json:"written"`
			plan
		}{s.out, !s.dry, p})
	}
	if s.dry {
		_, err := io.WriteString(w, text)
		return err
	}
	return p.table(w, s.out)
}

func (p plan) table(w io.Writer, file string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: cluster %s, %d nodes, engine %s\n\n", file, p.Cluster, len(p.Nodes), p.Engine)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSERVER\tPOSTGRES\tREADS FROM\tAPI")
	for _, n := range p.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, cli.Clean(n.Server), release(n.Version), strings.Join(n.Reads, ", "), n.API)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteString("\nlook at:\n")
	for _, n := range p.Notes {
		b.WriteString("  - " + cli.Clean(n) + "\n")
	}
	fmt.Fprintf(&b, "\nnext:\n  healer config check --config %[1]s\n  healer doctor --config %[1]s\n  healer agent --config %[1]s --node %[2]s --data-dir /var/lib/healer   # on each node\n",
		file, p.Nodes[0].Name)
	_, err := io.WriteString(w, b.String())
	return err
}
