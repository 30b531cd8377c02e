package demo

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"healer/events"
)

// Options say what is shown. The zero value is not valid; see Defaults.
type Options struct {
	// Nodes is the size of the mesh, 3 to 7.
	Nodes int
	// Major is PostgreSQL's major version: 16, 17 or 18; 0 is the newest that
	// is found.
	Major int
	// Kill is the node that is killed.
	Kill string
	// Rows is how many rows the gap has at least.
	Rows int
	// Keep leaves the cluster running after the end, until the context ends.
	Keep bool
	// Dir is where the demo's directory is made; empty means the place for
	// temporary files. A directory that was there before is not removed.
	Dir string
	// JSON asks for one JSON object on standard output, at the end, and
	// nothing else there.
	JSON bool
	// Program is the healer binary whose agents are started; empty means this
	// one.
	Program string

	// told gets every event, for tests; it may be nil.
	told func(events.Event)
}

// Defaults are three nodes, the first killed, with a gap of 10,000 rows.
func Defaults() Options { return Options{Nodes: 3, Kill: "n1", Rows: 10000} }

// IO is where the demo speaks. Live is set when Out is a terminal and the live
// view is wanted.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Live     bool
}

// The sizes that are shown, and that a small machine can bear.
const (
	minNodes, maxNodes = 3, 7
	maxRows            = 10_000_000
)

// check says everything that is wrong with the options.
func (o Options) check() error {
	var errs []error
	if o.Nodes < minNodes || o.Nodes > maxNodes {
		errs = append(errs, fmt.Errorf("--nodes %d: it must be %d to %d", o.Nodes, minNodes, maxNodes))
	} else if !slices.Contains(o.names(), o.Kill) {
		errs = append(errs, fmt.Errorf("--kill %q: the nodes are %v", o.Kill, o.names()))
	}
	if !slices.Contains([]int{0, 16, 17, 18}, o.Major) {
		errs = append(errs, fmt.Errorf("--pg %d: it must be 16, 17 or 18", o.Major))
	}
	if o.Rows < 1 || o.Rows > maxRows {
		errs = append(errs, fmt.Errorf("--rows %d: it must be 1 to %d", o.Rows, maxRows))
	}
	return errors.Join(errs...)
}

// names are the nodes of the mesh in order.
func (o Options) names() []string {
	names := make([]string, o.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// survivors are all nodes but the one that is killed.
func (o Options) survivors() []string {
	return slices.DeleteFunc(o.names(), func(n string) bool { return n == o.Kill })
}

// laggard is the survivor that is made to fall behind: the last.
func (o Options) laggard() string { s := o.survivors(); return s[len(s)-1] }

// ahead is the survivor that changes rows of the killed node: the first.
func (o Options) ahead() string { return o.survivors()[0] }
