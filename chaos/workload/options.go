package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connector opens sessions on a server, as a *localpg.Server does.
type Connector interface {
	Connect(ctx context.Context) (*pgx.Conn, error)
}

// Node is a server to write to.
type Node struct {
	Name string
	On   Connector
}

// Rates say how often, in a hundred transactions, each kind of them is chosen; what is
// left moves sums between accounts. The zero value is only transfers.
type Rates struct {
	// Change: rows are inserted, changed and deleted, also those of other nodes.
	Change int `yaml:"change"`
	// Collide: a row is changed over the write of a lost node that not all survivors
	// have yet; an ordinary change while no node is lost.
	Collide int `yaml:"collide"`
	// Large: a transaction of Options.LargeRows rows.
	Large int `yaml:"large"`
	// Prepared: a transaction in two phases. The servers need Settings.
	Prepared int `yaml:"prepared"`
	// Truncate: the table that only this node writes is emptied.
	Truncate int `yaml:"truncate"`
	// Read: the sums of all nodes' accounts, as this node has them.
	Read int `yaml:"read"`
	// Rollback: changes that are taken back, all or in part.
	Rollback int `yaml:"rollback"`
}

// Options say who writes, and how much. The zero values of all but Nodes have defaults.
type Options struct {
	Nodes []Node
	// Clients is how many write on each node; 2 when zero.
	Clients int
	// Pace is the pause of a client between two transactions; 10 ms when zero.
	Pace time.Duration
	// Seed makes what the clients choose repeatable, as far as the servers' answers
	// repeat.
	Seed uint64
	// Rates is DefaultRates when it is zero.
	Rates Rates
	// Rows is about how many rows are changed by all; 200 when zero.
	Rows int
	// LargeRows is the size of large transactions; 400 when zero.
	LargeRows int
	// OpLimit bounds one transaction, so that a client notices a dead server; 5 s
	// when zero. What runs into it is unknown.
	OpLimit time.Duration
	// Sampling is how often each server is read while the clients run; 50 ms when zero.
	Sampling time.Duration
	// Start is the moment that the history counts from; now when zero.
	Start time.Time
}

// DefaultRates are a mixture in which every kind is met within seconds.
func DefaultRates() Rates {
	return Rates{Change: 35, Collide: 15, Large: 1, Prepared: 4, Truncate: 1, Read: 4, Rollback: 5}
}

// complete checks the options and fills in the defaults.
func (o *Options) complete() error {
	if len(o.Nodes) == 0 {
		return errors.New("workload: nodes is empty: name at least one server to write to")
	}
	seen := map[string]bool{}
	for _, n := range o.Nodes {
		if n.Name == "" || n.On == nil || seen[n.Name] {
			return fmt.Errorf("workload: node %q: every node needs a name of its own and a server", n.Name)
		}
		seen[n.Name] = true
	}
	if o.Rates == (Rates{}) {
		o.Rates = DefaultRates()
	}
	if err := o.Rates.Validate(); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		value *int
		or    int
	}{{"clients", &o.Clients, 2}, {"rows", &o.Rows, 200}, {"large_rows", &o.LargeRows, 400}} {
		if *f.value == 0 {
			*f.value = f.or
		}
		if *f.value < 0 {
			return fmt.Errorf("workload: %s is %d: use a number above zero", f.name, *f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{{"pace", &o.Pace, 10 * time.Millisecond}, {"op_limit", &o.OpLimit, 5 * time.Second}, {"sampling", &o.Sampling, 50 * time.Millisecond}} {
		if *f.value == 0 {
			*f.value = f.or
		}
		if *f.value < 0 {
			return fmt.Errorf("workload: %s is %s: use a length above zero", f.name, *f.value)
		}
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	return nil
}

// Validate says which rate cannot be.
func (r Rates) Validate() error {
	sum := 0
	for _, f := range r.table() {
		if f.rate < 0 {
			return fmt.Errorf("workload: the rate %s is %d: use 0 to 100", f.kind, f.rate)
		}
		sum += f.rate
	}
	if sum > 100 {
		return fmt.Errorf("workload: the rates add up to %d: use at most 100 of a hundred", sum)
	}
	return nil
}

// rate is one kind of transactions and its share.
type rate struct {
	kind string
	rate int
}

func (r Rates) table() []rate {
	return []rate{
		{kindChange, r.Change},
		{kindCollide, r.Collide},
		{kindLarge, r.Large},
		{kindPrepared, r.Prepared},
		{kindTruncate, r.Truncate},
		{kindRead, r.Read},
		{kindRollback, r.Rollback},
	}
}

// The kinds of transactions, as the history names them.
const (
	// kindOpen makes the accounts.
	kindOpen     = "open"
	kindTransfer = "transfer"
	kindChange   = "change"
	kindCollide  = "collide"
	kindLarge    = "large"
	kindPrepared = "prepared"
	kindTruncate = "truncate"
	kindRead     = "read"
	kindRollback = "rollback"
)

// names are those of the nodes.
func (o *Options) names() []string {
	all := make([]string, len(o.Nodes))
	for i, n := range o.Nodes {
		all[i] = n.Name
	}
	return all
}
