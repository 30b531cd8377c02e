package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"healer/postgres"
	"healer/topology"
)

// schema makes the source's schema on the node, unless the tables are there.
func (r *rebuild) schema(ctx context.Context) error {
	there, missing, err := r.present(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(missing) == 0:
	case r.o.prepared || len(there) > 0:
		return &topology.Fault{
			Code: "schema_missing", Node: r.o.node, Hint: "make the tables as they are on " + r.source + ", and run the command again",
			Err: errors.New("it has not " + names(missing)),
		}
	default:
		if err := r.dumpSchema(ctx); err != nil {
			return err
		}
	}
	for _, p := range r.peers {
		if _, err := r.Engine.Published(ctx, r.o.node, r.back[p].Publications); err != nil {
			return err
		}
	}
	return nil
}

// dumpSchema runs pg_dump against the source and what it wrote on the node, in one
// transaction.
func (r *rebuild) dumpSchema(ctx context.Context) error {
	n, _ := r.seen.Node(r.source)
	program, err := findDump(ctx, r.o.bin, n.Version/10000)
	if err != nil {
		return err
	}
	source, _ := r.cfg.Node(r.source)
	dsn, password := takePassword(source.DSN)
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "--schema-only", "--no-subscriptions", "--dbname="+dsn)
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=10")
	if password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+password)
	}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return &topology.Fault{
			Code: "pg_dump", Node: r.source, Hint: "see that its role may read the schema, or make the tables by hand: --schema-prepared",
			Err: fmt.Errorf("pg_dump: %w: %w", err, lastLine(said.String())),
		}
	}
	conn, err := r.Servers[r.o.node].Session(ctx)
	if err != nil {
		return err
	}
	defer postgres.Hangup(conn)
	// The node's agent may have made Healer's own publications already.
	script := "DROP PUBLICATION IF EXISTS healer, healer_inserts;\n" + plainSQL(out.String())
	return postgres.Wrap(r.o.node, conn.Exec(ctx, script).Close())
}

// plainSQL leaves out psql's own commands, which pg_dump writes since they guard
// against what a hostile server could smuggle in: \restrict and \unrestrict.
func plainSQL(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// findDump finds a pg_dump that is not older than the server.
func findDump(ctx context.Context, dir string, server int) (string, error) {
	fault := &topology.Fault{
		Code: "pg_dump", Hint: fmt.Sprintf("name the directory of one of version %d or newer with --pg-bin, or make the tables by hand: --schema-prepared", server),
	}
	name := "pg_dump"
	if dir != "" {
		name = filepath.Join(dir, name)
	}
	program, err := exec.LookPath(name)
	if err != nil {
		fault.Err = fmt.Errorf("the schema is to be made, and there is no pg_dump: %w", err)
		return "", fault
	}
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		fault.Err = fmt.Errorf("%s --version: %w", program, err)
		return "", fault
	}
	m := regexp.MustCompile(`\) (\d+)`).FindSubmatch(said)
	if m == nil {
		fault.Err = fmt.Errorf("%s says of itself %q", program, bytes.TrimSpace(said))
		return "", fault
	}
	if major, err := strconv.Atoi(string(m[1])); err != nil || major < server {
		fault.Err = fmt.Errorf("%s is of version %s and cannot dump PostgreSQL %d", program, m[1], server)
		return "", fault
	}
	return program, nil
}

// takePassword takes the password out of a DSN, so that it does not stand in the
// list of processes.
func takePassword(dsn string) (rest, password string) {
	if scheme, tail, ok := strings.Cut(dsn, "://"); ok {
		authority, path, slash := strings.Cut(tail, "/")
		user, host, ok := cutLast(authority, "@")
		name, secret, has := strings.Cut(user, ":")
		if !ok || !has {
			return dsn, ""
		}
		rest = scheme + "://" + name + "@" + host
		if slash {
			rest += "/" + path
		}
		if plain, err := url.PathUnescape(secret); err == nil {
			secret = plain
		}
		return rest, secret
	}
	word := regexp.MustCompile(`(?:^|\s)password\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)`)
	m := word.FindStringSubmatchIndex(dsn)
	if m == nil {
		return dsn, ""
	}
	value := dsn[m[2]:m[3]]
	value = strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'")
	value = regexp.MustCompile(`\\(.)`).ReplaceAllString(value, "$1")
	return strings.TrimSpace(dsn[:m[0]] + dsn[m[1]:]), value
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
