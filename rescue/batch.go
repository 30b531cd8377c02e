package rescue

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"healer/topology"
)

// entry is a change that a batch can do again: its message is in raw.
type entry struct {
	shape    *shape
	from, to int
}

// commit is a transaction that a batch has to its end.
type commit struct {
	lsn topology.LSN
	at  int64
	// same counts the transactions up to this one that have its time; see doubt.go.
	same int
	// end is the number of entries up to its end, copied that of COPYs.
	end, copied int
}

// batch is what one call applies: whole transactions, or a part of one.
type batch struct {
	entries []entry
	raw     []byte
	commits []commit
	// The elements of the program's arrays: for each step its code, where its
	// values start, how many changes it makes, and of which transaction.
	codes, starts, counts, lsns, ats []byte
	steps                            int
	// columns has the values of single changes by their position, single their
	// size; values has all others one after the other.
	columns []elements
	single  int
	values  []byte
	count   int
	// copying batches have COPYs instead, whose rows are in copies.
	copying bool
	copied  []copied
	copies  []byte
	// tx is the transaction that is gathered.
	tx runs
}

// elements are those of an array in which some steps have none.
type elements struct {
	text  []byte
	count int
}

// put sets the element of a step, whose number is from 1.
func (e *elements) put(step int, value []byte) {
	for ; e.count < step-1; e.count++ {
		e.text = append(e.text, "NULL,"...)
	}
	e.text = append(append(e.text, value...), ',')
	e.count++
}

func newBatch() *batch { return &batch{tx: runs{seed: maphash.MakeSeed()}} }

func (b *batch) reset() {
	b.entries, b.raw, b.commits = b.entries[:0], b.raw[:0], b.commits[:0]
	b.codes, b.starts, b.counts, b.lsns, b.ats = b.codes[:0], b.starts[:0], b.counts[:0], b.lsns[:0], b.ats[:0]
	b.values, b.count, b.steps = b.values[:0], 0, 0
	b.copying, b.copied, b.copies = false, b.copied[:0], b.copies[:0]
	for i := range b.columns {
		b.columns[i] = elements{text: b.columns[i].text[:0]}
	}
	b.single = 0
	b.tx.reset()
}

// size is about what it takes on the wire.
func (b *batch) size() int { return len(b.values) + len(b.copies) + b.single + b.tx.bytes + 32*b.steps }

// done is the number of entries in whole transactions.
func (b *batch) done() int {
	if len(b.commits) == 0 {
		return 0
	}
	return b.commits[len(b.commits)-1].end
}

// open is the number of entries of the transaction that is gathered.
func (b *batch) open() int { return len(b.entries) - b.done() }

// add takes a change.
func (b *batch) add(c *change, s *shape) {
	from := len(b.raw)
	b.raw = append(b.raw, c.raw...)
	b.entries = append(b.entries, entry{shape: s, from: from, to: len(b.raw)})
	b.tx.add(c, s)
}

// message is what the stream said of an entry.
func (b *batch) message(e entry) []byte { return b.raw[e.from:e.to] }

// end ends a transaction. All those of a batch go the same way.
func (b *batch) end(p *program, c commit) {
	c.end = len(b.entries)
	if b.copying = b.tx.copies(); b.copying {
		b.copyRuns()
		c.copied = len(b.copied)
		b.commits = append(b.commits, c)
		return
	}
	b.commits = append(b.commits, c)
	if len(b.tx.runs) == 1 && b.tx.runs[0].count == 1 {
		b.step(p, &b.tx.runs[0], solo, &c)
		b.tx.reset()
		return
	}
	b.close(p, c.at)
	b.write(0, 1, 0, c.at, &c.lsn)
}

// endPart ends a part of a transaction, whose time is at.
func (b *batch) endPart(p *program, at int64) {
	if b.copying = b.tx.copies(); b.copying {
		b.copyRuns()
		return
	}
	b.close(p, at)
}

// close makes steps of the runs of the transaction.
func (b *batch) close(p *program, at int64) {
	for i := range b.tx.runs {
		f := many
		if b.tx.runs[i].count == 1 {
			f = single
		}
		b.step(p, &b.tx.runs[i], f, &commit{at: at})
	}
	b.tx.reset()
}

func (b *batch) step(p *program, r *run, f form, c *commit) {
	lsn := &c.lsn
	if f != solo {
		lsn = nil
	}
	b.write(p.code(r.shape, f), b.count+1, r.count, c.at, lsn)
	if f != many && r.shape.inline {
		for len(b.columns) < len(r.ends) {
			b.columns = append(b.columns, elements{})
		}
		start := 0
		for i, end := range r.ends {
			b.columns[i].put(b.steps, r.values[start:end])
			start = end + 1
		}
		b.single += len(r.values)
		return
	}
	if b.count > 0 {
		b.values = append(b.values, ',')
	}
	b.values = append(b.values, r.values...)
	b.count += r.count * len(r.shape.params)
}

func (b *batch) write(code, start, count int, at int64, lsn *topology.LSN) {
	if b.steps++; b.steps > 1 {
		b.codes, b.starts, b.counts = append(b.codes, ','), append(b.starts, ','), append(b.counts, ',')
		b.lsns, b.ats = append(b.lsns, ','), append(b.ats, ',')
	}
	b.codes = strconv.AppendInt(b.codes, int64(code), 10)
	b.starts = strconv.AppendInt(b.starts, int64(start), 10)
	b.counts = strconv.AppendInt(b.counts, int64(count), 10)
	b.ats = strconv.AppendInt(b.ats, at, 10)
	if lsn == nil {
		b.lsns = append(b.lsns, "NULL"...)
		return
	}
	b.lsns = appendLSN(b.lsns, *lsn)
}

func appendLSN(b []byte, lsn topology.LSN) []byte {
	b = strconv.AppendUint(b, uint64(lsn)>>32, 16)
	b = append(b, '/')
	return strconv.AppendUint(b, uint64(lsn)&0xffffffff, 16)
}

// params are the parameters of loadSQL, for a program with so many columns.
func (b *batch) params(columns int) [][]byte {
	out := make([][]byte, 0, 6+columns)
	for _, elements := range [][]byte{b.codes, b.starts, b.counts, b.lsns, b.ats, b.values} {
		out = append(out, array(elements))
	}
	for i := range columns {
		var text []byte
		if i < len(b.columns) {
			text = bytes.TrimSuffix(b.columns[i].text, []byte(","))
		}
		out = append(out, array(text))
	}
	return out
}

func array(elements []byte) []byte {
	b := make([]byte, 0, len(elements)+2)
	return append(append(append(b, '{'), elements...), '}')
}

// split moves the transaction that is gathered to another, empty batch.
func (b *batch) split(to *batch) {
	first := b.done()
	for _, e := range b.entries[first:] {
		from := len(to.raw)
		to.raw = append(to.raw, b.message(e)...)
		to.entries = append(to.entries, entry{shape: e.shape, from: from, to: len(to.raw)})
	}
	b.entries = b.entries[:first]
	b.tx, to.tx = to.tx, b.tx
}

// appendElement appends an element to the text of an array.
func appendElement(b []byte, d datum) []byte {
	if d.kind != datumText {
		return append(b, "NULL"...)
	}
	b = append(b, '"')
	text := d.text
	for {
		i := special(text)
		if i < 0 {
			break
		}
		b = append(b, text[:i]...)
		b = append(b, '\\', text[i])
		text = text[i+1:]
	}
	b = append(b, text...)
	return append(b, '"')
}

// special finds the first byte that an element escapes.
func special(text []byte) int {
	if len(text) > 32 {
		quote := bytes.IndexByte(text, '"')
		if quote >= 0 {
			text = text[:quote]
		}
		if slash := bytes.IndexByte(text, '\\'); slash >= 0 {
			return slash
		}
		return quote
	}
	for i, c := range text {
		if c == '"' || c == '\\' {
			return i
		}
	}
	return -1
}
