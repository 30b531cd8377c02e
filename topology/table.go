package topology

// Column is a column of a table on one node.
type Column struct {
	Name string `json:"name"`
	// Type is the type as SQL names it, Category PostgreSQL's one-letter
	// class of it (pg_type.typcategory): N for numbers, S for strings, ...
	Type     string `json:"type"`
	Category string `json:"category"`
}

// Table is a table as one node has it, or as its publications publish it.
type Table struct {
	TableName
	// Missing is true when the node has no such table.
	Missing bool `json:"missing,omitempty"`
	// Columns are those that changes of the table carry: generated ones are
	// not among them.
	Columns []Column `json:"columns"`
}

// Column returns the column of that name.
func (t Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// Schema is what a recovery of Origin has to know of a node's tables. It is
// read for a plan, and not with every observation.
type Schema struct {
	Origin string `json:"origin"`
	// Receives are the tables that the node receives from Origin, and those
	// that it would receive if it had them, because others do through the
	// same publications.
	Receives []Table `json:"receives"`
	// Publishes has, by peer, the tables that the node's log can be decoded
	// with for that peer.
	Publishes map[string][]Table `json:"publishes"`
	// Younger has, by the name of a recovery slot or clone, the tables that
	// joined their publication when the slot may have stood before that
	// already: changes from before they joined decode to nothing.
	Younger map[string][]TableName `json:"younger,omitempty"`
}
