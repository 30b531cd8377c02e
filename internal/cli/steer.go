package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
	"healer/topology"
)

// steerFlags are those of every command that tells the agents something: whom to
// tell, who says it, and how to show what came of it.
type steerFlags struct {
	file, agent, addr, token, by, reason *string
	dry                                  *bool
	out                                  *format
	limit                                *time.Duration
}

func (a App) steerFlagsOf(cmd *cobra.Command) steerFlags {
	f := a.steerAnyOf(cmd)
	f.agent = cmd.Flags().StringP("node", "n", "", "tell the agent of this node only")
	return f
}

// steerAnyOf is for a command whose --node is not that of the agent to tell.
func (a App) steerAnyOf(cmd *cobra.Command) steerFlags {
	return steerFlags{
		file: ConfigFlag(cmd), out: outputFlag(cmd), agent: new(string),
		addr:   AgentFlags(cmd, "tell"),
		token:  cmd.Flags().String("token-file", "", "the `FILE` with the agents' token, where it is not that of api.token_file"),
		by:     cmd.Flags().String("by", a.user(), "who says it"),
		reason: cmd.Flags().String("reason", "", "why; shown with it"),
		dry:    cmd.Flags().Bool("dry-run", false, "check it, and change nothing"),
		limit:  cmd.Flags().Duration("timeout", 5*time.Second, "how long to wait for the agents"),
	}
}

// user is who calls, as the environment has it.
func (a App) user() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		for _, e := range a.Environ {
			if v, ok := strings.CutPrefix(e, name+"="); ok && v != "" {
				return v
			}
		}
	}
	return ""
}

// secret reads the token: that of the flag, else that of the file, else none.
func (a App) secret(cmd *cobra.Command, f steerFlags) (string, error) {
	path := *f.token
	if path == "" && *f.file != "" {
		c, err := LoadConfig(cmd, *f.file, a.CheckDSN)
		if err != nil {
			return "", err
		}
		path = c.API.TokenFile
	}
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", &hinted{code: exitError, err: err, hint: "name a readable copy of the agents' token with --token-file"}
	}
	return strings.TrimSpace(string(b)), nil
}

// steerAgents tells one agent after another until one takes it: that one tells the
// others.
func (a App) steerAgents(cmd *cobra.Command, f steerFlags,
	tell func(ctx context.Context, client *http.Client, addr, token string) (api.Controlled, error),
) (api.Controlled, error) {
	agents, err := a.agents(cmd, *f.file, *f.agent, *f.addr)
	if err != nil {
		return api.Controlled{}, err
	}
	token, err := a.secret(cmd, f)
	if err != nil {
		return api.Controlled{}, err
	}
	client, err := AgentClient(cmd, a.CheckDSN)
	if err != nil {
		return api.Controlled{}, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), *f.limit)
	defer cancel()
	var said strings.Builder
	hint := "see whether the agents run and whether their `api` addresses can be reached from here"
	for _, g := range agents {
		got, err := tell(ctx, client, g.API, token)
		var no *topology.Fault
		switch {
		case err == nil:
			return got, nil
		case !errors.As(err, &no):
			fmt.Fprintf(&said, "\n  %s: %s", strings.TrimSpace(g.Node+" "+g.API), reason(err))
		case no.Code == "token_unreadable": // another agent may know the token
			fmt.Fprintf(&said, "\n  %s: %v", strings.TrimSpace(g.Node+" "+g.API), no.Err)
			hint = no.Hint
		default:
			return api.Controlled{}, no
		}
	}
	return api.Controlled{}, &hinted{code: exitError, err: errors.New("no agent takes it" + said.String()), hint: hint}
}
