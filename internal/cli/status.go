package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"healer/api"
)

// statusCode is the exit code for a state.
func statusCode(s api.State) int {
	code, known := map[api.State]int{api.Healthy: 0, api.Degraded: 1, api.Critical: 2}[s]
	if !known {
		return 3
	}
	return code
}

// answer is what one agent said, or why it did not.
type answer struct {
	// Node is empty when the agent was named by its address.
	Node  string `json:"node,omitempty"`
	API   string `json:"api"`
	Error string `json:"error,omitempty"`
	// Problem is what the agent itself could not read.
	Problem string `json:"problem,omitempty"`

	status *api.Status
}

// report is the result of the status command for programs.
type report struct {
	// Agents has one entry for each agent asked, in the order of the file.
	Agents []answer `json:"agents"`
	// Status is that of the first agent that answered; null when none did.
	Status *api.Status `json:"status"`
}

func (a App) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status (--config FILE [--node NAME] | --api HOST:PORT)",
		Short:   "Show the cluster as its agents see it",
		Example: "  healer status --config healer.yaml\n  healer status --api 10.0.0.1:8081 -o json",
		Long: strings.TrimSpace(`
Show the cluster as its agents see it. All agents of the file are asked; the first
in its order that answers is shown, and those that do not answer are named.

Exits 0 when the cluster is healthy, 1 degraded, 2 critical, and 3 when its state
is not known, because no agent answers or none has observed it yet.`),
		Args: NoArgs,
	}
	file, out := ConfigFlag(cmd), outputFlag(cmd)
	node := cmd.Flags().StringP("node", "n", "", "ask the agent of this node only")
	addr := AgentFlags(cmd, "ask")
	limit := cmd.Flags().Duration("timeout", 3*time.Second, "how long to wait for the agents")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return unknownUnless(func() error {
			agents, err := a.agents(cmd, *file, *node, *addr)
			if err != nil {
				return err
			}
			client, err := AgentClient(cmd, a.CheckDSN)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), *limit)
			defer cancel()
			ask(ctx, client, agents)
			return a.showStatus(cmd, report{Agents: agents, Status: first(agents)}, *out)
		}())
	}
	return cmd
}

// unknownUnless gives an error that has no code of its own the code of an
// unknown state: 1 would say that the cluster is degraded.
func unknownUnless(err error) error {
	var exit *Exit
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &Exit{Code: statusCode(api.Unknown), Err: err}
}

// ask asks all agents at once and fills in their answers.
func ask(ctx context.Context, client *http.Client, agents []answer) {
	var wg sync.WaitGroup
	for i := range agents {
		wg.Go(func() {
			s, err := api.FetchStatus(ctx, client, agents[i].API)
			if err != nil {
				agents[i].Error = reason(err)
				return
			}
			agents[i].status = &s
		})
	}
	wg.Wait()
}

// reason says in few words why an agent did not answer: not the URL, which the
// table shows anyway.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "it does not speak TLS, which the command was told it does"
	}
	if over, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not believed (api.tls.ca_file, --ca-file): " + over.Err.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return strings.TrimPrefix(op.Err.Error(), "connect: ")
	}
	return err.Error()
}

// first returns the first answer in order.
func first(agents []answer) *api.Status {
	for _, g := range agents {
		if g.status != nil {
			return g.status
		}
	}
	return nil
}

// showStatus writes the report and returns the state as an exit code.
func (a App) showStatus(cmd *cobra.Command, r report, out format) error {
	w := cmd.OutOrStdout()
	if out == asJSON {
		if err := writeJSON(w, r); err != nil {
			return err
		}
	}
	if r.Status == nil {
		return noAnswer(r.Agents)
	}
	if out == asTable {
		if err := a.statusTable(w, r); err != nil {
			return err
		}
	}
	if code := statusCode(r.Status.State); code != 0 {
		return &Exit{Code: code}
	}
	return nil
}

func noAnswer(agents []answer) error {
	var b strings.Builder
	b.WriteString("no agent answers, so the state is unknown")
	for _, g := range agents {
		fmt.Fprintf(&b, "\n  %s: %s", strings.TrimSpace(g.Node+" "+g.API), g.Error)
	}
	return &hinted{
		code: statusCode(api.Unknown), err: errors.New(b.String()),
		hint: "see whether the agents run and whether their `api` addresses can be reached from here",
	}
}
