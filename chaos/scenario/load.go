package scenario

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"healer/chaos/fault"
	"healer/events"
	"healer/planner"
)

// Load reads and checks a file. Its error has every problem, each with the field, the
// value and the remedy.
func Load(path string) (*Scenario, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := Parse(src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse reads and checks a scenario of a local cluster.
func Parse(src []byte) (*Scenario, error) {
	s, err := decode(src)
	if err != nil {
		return nil, err
	}
	if s.Nodes == 0 {
		s.Nodes = MinNodes
	}
	errs := s.checkLocal()
	errs = append(errs, s.check(NodeNames(s.Nodes))...)
	return s, errors.Join(errs...)
}

// ParseFor reads and checks a scenario for a cluster of these nodes, in which only what
// needs no local process can be made.
func ParseFor(src []byte, nodes []string) (*Scenario, error) {
	s, err := decode(src)
	if err != nil {
		return nil, err
	}
	return s, errors.Join(s.checkStaging(nodes)...)
}

func decode(src []byte) (*Scenario, error) {
	var s Scenario
	return &s, errors.Join(unmarshal(src, &s)...)
}

// Marshal writes the scenario as Parse reads it.
func (s *Scenario) Marshal() ([]byte, error) {
	var b strings.Builder
	marshal(&b, reflect.ValueOf(*s), "")
	return []byte(b.String()), nil
}

// nameForm is what a scenario may be called: it names directories.
const nameForm = `^[a-z0-9][a-z0-9-]{0,62}$`

// maxLength bounds a run and everything in it.
const maxLength = 24 * time.Hour

func (s *Scenario) checkLocal() []error {
	var errs []error
	bad := func(field string, value any, remedy string) {
		errs = append(errs, fmt.Errorf("%s %v: %s", field, value, remedy))
	}
	if s.Nodes < MinNodes || s.Nodes > MaxNodes {
		bad("nodes", s.Nodes, fmt.Sprintf("use %d to %d", MinNodes, MaxNodes))
		s.Nodes = min(max(s.Nodes, MinNodes), MaxNodes)
	}
	if err := s.PG.complete(s.Seed, s.Nodes); err != nil {
		errs = append(errs, err)
	}
	if len(s.Proxies) > 0 {
		bad("proxies", len(s.Proxies), "leave them out: every link of a local cluster leads through one")
	}
	for i, e := range s.Schedule {
		if e.Kind == fault.Command {
			bad(fmt.Sprintf("schedule[%d].fault", i), e.Kind, "commands are for a cluster of your own: use server_kill and its kin")
		}
	}
	return errs
}

// checkStaging checks what a user's cluster can bear.
func (s *Scenario) checkStaging(nodes []string) []error {
	var errs []error
	ends := slices.Clone(nodes)
	for i, p := range s.Proxies {
		at := fmt.Sprintf("proxies[%d]", i)
		switch {
		case p.Name == "" || slices.Contains(ends, p.Name):
			errs = append(errs, fmt.Errorf("%s.name %q: give it a name that neither a node nor another proxy has", at, p.Name))
		case p.Listen == "":
			errs = append(errs, fmt.Errorf("%s.listen is missing: use host:port of this machine", at))
		case p.Upstream == "":
			errs = append(errs, fmt.Errorf("%s.upstream is missing: use host:port of the server that it leads to", at))
		}
		ends = append(ends, p.Name)
	}
	for i, e := range s.Schedule {
		at := fmt.Sprintf("schedule[%d]", i)
		if !e.Kind.Staging() {
			errs = append(errs, fmt.Errorf("%s.fault %q: it needs a local process: use one of %v, or `healer chaos replay` for a local cluster", at, e.Kind, staging()))
		}
		if e.Kind.Takes("link") && !slices.ContainsFunc(s.Proxies, func(p Proxy) bool { return p.Name == e.Node }) {
			errs = append(errs, fmt.Errorf("%s.node %q: name one of the proxies, through which the link leads", at, e.Node))
		} else if first := s.LinkOf(e.Node); e.Link != first {
			errs = append(errs, fmt.Errorf("%s.link %q: the proxy %s is for %s already: add another proxy", at, e.Link, e.Node, first))
		}
	}
	return append(errs, s.check(ends)...)
}

func staging() []string {
	var out []string
	for _, k := range fault.Kinds() {
		if k.Staging {
			out = append(out, string(k.Kind))
		}
	}
	return out
}

// check checks what holds for any cluster.
func (s *Scenario) check(nodes []string) []error {
	var errs []error
	bad := func(field string, value any, remedy string) {
		errs = append(errs, fmt.Errorf("%s %v: %s", field, value, remedy))
	}
	if !regexp.MustCompile(nameForm).MatchString(s.Name) {
		bad("name", fmt.Sprintf("%q", s.Name), "use at most 63 of a-z, 0-9 and -")
	}
	if s.Length < 0 || s.Length > maxLength {
		bad("length", s.Length, "use 0s to 24h")
	}
	if err := s.Workload.Rates.Validate(); err != nil {
		bad("workload.rates", "", err.Error())
	}
	if s.Workload.Clients < 0 || s.Workload.Clients > 100 {
		bad("workload.clients", s.Workload.Clients, "use 1 to 100, or none: true")
	}
	if s.Workload.Pace < 0 || s.Workload.LargeRows < 0 {
		bad("workload", s.Workload, "use a pace and large_rows above zero")
	}
	if len(s.Schedule) == 0 {
		bad("schedule", "is empty", "give at least one fault")
	}
	for i, e := range s.Schedule {
		for _, err := range e.check(nodes) {
			errs = append(errs, fmt.Errorf("schedule[%d].%w", i, err))
		}
	}
	return append(errs, s.Expect.check(nodes)...)
}

// check takes a role for any node: which one it is nobody knows yet.
func (e Event) check(nodes []string) []error {
	var errs []error
	if e.At < 0 || e.At > maxLength {
		errs = append(errs, fmt.Errorf("at %s: use 0s to 24h", e.At))
	}
	if e.For < 0 || e.For > maxLength {
		errs = append(errs, fmt.Errorf("for %s: use 0s to 24h", e.For))
	}
	kind, step := strings.CutPrefix(e.After, "step ")
	switch {
	case e.After == "":
	case step && !slices.Contains(steps(), kind):
		errs = append(errs, fmt.Errorf("after %q: the steps are %s", e.After, strings.Join(steps(), ", ")))
	case !step && !known(kind):
		errs = append(errs, fmt.Errorf("after %q: use a kind of events of docs/events.md, or \"step\" with one of %s", e.After, strings.Join(steps(), ", ")))
	}
	f := e.Fault
	for _, name := range []*string{&f.Node, &f.Peer} {
		if !strings.HasPrefix(*name, "@") {
			continue
		}
		if !IsRole(*name) || e.After == "" {
			errs = append(errs, fmt.Errorf("node %q: the roles are %s, and need an after: that tells who has them", *name, strings.Join(roles(), ", ")))
		}
		*name = "" // it stands for any node
		if len(nodes) > 1 {
			*name = nodes[0]
			if name == &f.Peer && f.Node == nodes[0] {
				*name = nodes[1]
			}
		}
	}
	return append(errs, f.Check(nodes)...)
}

func known(kind string) bool { return slices.Contains(events.Kinds(), events.Kind(kind)) }

// steps are the steps of a recovery that something can happen at.
func steps() []string {
	var out []string
	for _, k := range []planner.StepKind{
		planner.StepFence, planner.StepObserve, planner.StepClone, planner.StepAdvance,
		planner.StepSubscribe, planner.StepVerify, planner.StepRelease,
	} {
		out = append(out, string(k))
	}
	return out
}
