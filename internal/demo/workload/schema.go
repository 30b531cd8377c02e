package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Schema is the SQL that makes the workload's tables.
func Schema() []string {
	return []string{
		`create table customers (
			id bigint primary key, name text not null, balance numeric(12,2) not null default 0,
			orders int not null default 0, updated_at timestamptz not null default clock_timestamp())`,
		`create table orders (
			id bigint primary key, customer bigint not null, status text not null, total numeric(12,2) not null,
			note text, changed_by text, updated_at timestamptz not null default clock_timestamp())`,
		`create table order_lines (
			order_id bigint not null, line int not null, sku text not null, quantity int not null,
			price numeric(12,2) not null, primary key (order_id, line))`,
	}
}

// rangeSize is how many keys one writer has to itself.
const rangeSize = 1_000_000_000

// clerk thinks of transactions within one range of keys and remembers which of
// its rows there are. Its SQL strings are whole transactions: the server takes
// the statements of one string as one.
type clerk struct {
	node      string
	rng       *rand.Rand
	next      int64
	customers []int64
	orders    []int64
}

// newClerk takes the n-th range of keys.
func newClerk(node string, n int, seed uint64) *clerk {
	return &clerk{node: node, rng: rand.New(rand.NewPCG(seed, uint64(n))), next: int64(n)*rangeSize + 1}
}

func (c *clerk) id() int64 { c.next++; return c.next }

// transaction is SQL and what to remember once it is committed.
type transaction struct {
	sql       string
	committed func()
}

// any thinks of an ordinary transaction.
func (c *clerk) any() transaction {
	switch r := c.rng.IntN(100); {
	case len(c.customers) < 5 || r < 5:
		return c.register()
	case len(c.orders) < 20 || r < 50:
		return c.place(1 + c.rng.IntN(5))
	case r < 70:
		return c.pay()
	case r < 88:
		return c.ship()
	default:
		return c.cancel()
	}
}

func (c *clerk) register() transaction {
	id := c.id()
	return transaction{
		sql:       fmt.Sprintf(`insert into customers (id, name, balance) values (%d, 'customer %d of %s', %d)`, id, id, c.node, c.rng.IntN(1000)),
		committed: func() { c.customers = append(c.customers, id) },
	}
}

// place writes an order with its lines and books it: lines + 2 rows.
func (c *clerk) place(lines int) transaction {
	id, customer := c.id(), c.someCustomer()
	var b strings.Builder
	fmt.Fprintf(&b, `insert into orders (id, customer, status, total, changed_by) values (%d, %d, 'new', %d.%02d, '%s');`,
		id, customer, c.rng.IntN(500), c.rng.IntN(100), c.node)
	b.WriteString(`insert into order_lines values `)
	for i := range lines {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `(%d, %d, 'sku-%04d', %d, %d.%02d)`, id, i+1, c.rng.IntN(10000), 1+c.rng.IntN(9), c.rng.IntN(99), c.rng.IntN(100))
	}
	fmt.Fprintf(&b, `; update customers set orders = orders + 1, balance = balance - 1, updated_at = clock_timestamp() where id = %d`, customer)
	return transaction{sql: b.String(), committed: func() { c.orders = append(c.orders, id) }}
}

func (c *clerk) someCustomer() int64 { return c.customers[c.rng.IntN(len(c.customers))] }

func (c *clerk) pay() transaction {
	return transaction{sql: fmt.Sprintf(`update customers set balance = balance + %d, updated_at = clock_timestamp() where id = %d`,
		c.rng.IntN(100), c.someCustomer())}
}

func (c *clerk) ship() transaction {
	return transaction{sql: shipSQL(c.orders[c.rng.IntN(len(c.orders))], c.node)}
}

func shipSQL(id int64, by string) string {
	return fmt.Sprintf(`update orders set status = 'shipped', note = coalesce(note, '') || 's', changed_by = '%s', updated_at = clock_timestamp() where id = %d`, by, id)
}

func (c *clerk) cancel() transaction {
	i := c.rng.IntN(len(c.orders))
	id := c.orders[i]
	return transaction{sql: cancelSQL(id), committed: func() {
		c.orders[i] = c.orders[len(c.orders)-1]
		c.orders = c.orders[:len(c.orders)-1]
	}}
}

func cancelSQL(id int64) string {
	return fmt.Sprintf(`delete from order_lines where order_id = %d; delete from orders where id = %d`, id, id)
}
