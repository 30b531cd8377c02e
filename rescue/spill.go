package rescue

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Spill says where the touched keys of a gap go that memory has no room for.
// Without a directory all of them stay in memory.
type Spill struct {
	// Dir is an existing directory of the agent's own. Files in it are made as
	// they are needed and removed by Touched.Close; RemoveSpilled removes those
	// that a killed agent has left.
	Dir string
	// Bytes is about how much memory the touched keys may take: 32 MiB by
	// default.
	Bytes int
}

const (
	spillPrefix = "touched-"
	spillBytes  = 32 << 20
	// fan is into how many files keys are divided by their hash; a file that is
	// too large for memory is divided again.
	fan = 32
	// fanBits are the bits of the hash that one division takes.
	fanBits   = 5
	maxLevels = 12
	// touchBytes is about what a touch takes beside its key.
	touchBytes = 160
)

// RemoveSpilled removes what an agent that was killed has left in its directory
// for spilled keys. No recovery may be running in it.
func RemoveSpilled(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, spillPrefix+"*"))
	if err != nil {
		return fmt.Errorf("spilled keys: %w", err)
	}
	var errs []error
	for _, path := range left {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// spill is the part of a Touched that is on disk: hash-partitioned files, in
// which a key stands as often as it was spilled. Reading folds its records in the
// order in which they were written.
type spill struct {
	limit int
	base  string
	// dir is made with the first file.
	dir    string
	seed   maphash.Seed
	tables int
	used   int
	// logged is the size of the tables' logs.
	logged int
	// names are the authors and sources that records refer to by number.
	names []string
}

func newSpill(o Spill) *spill {
	if o.Dir == "" {
		return nil
	}
	if o.Bytes <= 0 {
		o.Bytes = spillBytes
	}
	return &spill{limit: o.Bytes, base: o.Dir, seed: maphash.MakeSeed()}
}

func (s *spill) number(name string) uint64 {
	i := slices.Index(s.names, name)
	if i < 0 {
		i = len(s.names)
		s.names = append(s.names, name)
	}
	return uint64(i)
}

func (s *spill) name(i uint64) (string, error) {
	if i >= uint64(len(s.names)) {
		return "", errors.New("spilled keys: the file is damaged")
	}
	return s.names[i], nil
}

func (s *spill) part(id string, level int) int {
	return int(maphash.String(s.seed, id)>>(level*fanBits)) & (fan - 1) //nolint:gosec // a few bits
}

// partOf is part at the first level.
func (s *spill) partOf(id []byte) int {
	return int(maphash.Bytes(s.seed, id)) & (fan - 1) //nolint:gosec // a few bits
}

// room spills everything when the memory is full. The touches that are held by
// the caller must not be written any more.
func (t *Touched) room(id string) {
	s := t.spill
	if s == nil || t.err != nil {
		return
	}
	if s.used+len(id)+touchBytes > s.limit && s.used > 0 {
		t.err = t.flush()
	}
	s.used += len(id) + touchBytes
}

// The flags of a record, in the order in which touch.flags sets them.
const (
	flagInserted = 1 << iota
	flagPerhaps
	flagTomb
	flagWrote
	flagLost
)

func (s *spill) encode(b []byte, id string, e *touch) []byte {
	b = append(b, e.flags())
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	b = binary.AppendUvarint(b, uint64(len(e.holders)))
	for _, h := range e.holders {
		b = binary.AppendUvarint(b, s.number(h))
	}
	if e.tomb != nil {
		b = s.stamp(b, *e.tomb)
	}
	if e.wrote != (stamp{}) {
		b = s.stamp(b, e.wrote)
	}
	if e.lost != nil {
		b = s.stamp(s.stamp(b, e.lost.write), e.lost.to)
	}
	return b
}

func (s *spill) stamp(b []byte, at stamp) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, at.at), s.number(at.author))
}

func (e *touch) flags() byte {
	flags := byte(0)
	for i, set := range [...]bool{e.inserted, e.perhaps, e.tomb != nil, e.wrote != stamp{}, e.lost != nil} {
		if set {
			flags |= 1 << i
		}
	}
	return flags
}

// decode reads one record.
func (s *spill) decode(r *bufio.Reader) (string, *touch, error) {
	flags, err := r.ReadByte()
	if err != nil {
		return "", nil, err
	}
	d := &spillReader{r: r, s: s}
	id := d.bytes()
	e := &touch{inserted: flags&flagInserted != 0, perhaps: flags&flagPerhaps != 0}
	for range d.count() {
		e.holders = append(e.holders, d.name())
	}
	if flags&flagTomb != 0 {
		tomb := d.stamp()
		e.tomb = &tomb
	}
	if flags&flagWrote != 0 {
		e.wrote = d.stamp()
	}
	if flags&flagLost != 0 {
		e.lost = &defeat{write: d.stamp(), to: d.stamp()}
	}
	if d.err != nil {
		return "", nil, fmt.Errorf("spilled keys: %w", d.err)
	}
	return id, e, nil
}

// spillReader reads the parts of a record; the first failure sticks.
type spillReader struct {
	r   *bufio.Reader
	s   *spill
	err error
}

func (d *spillReader) count() uint64 {
	if d.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(d.r)
	d.err = err
	return n
}

func (d *spillReader) name() string {
	n := d.count()
	if d.err != nil {
		return ""
	}
	name, err := d.s.name(n)
	d.err = err
	return name
}

func (d *spillReader) bytes() string {
	n := d.count()
	if d.err != nil {
		return ""
	}
	b := make([]byte, n)
	_, d.err = io.ReadFull(d.r, b)
	return string(b)
}

func (d *spillReader) stamp() stamp {
	if d.err != nil {
		return stamp{}
	}
	at, err := binary.ReadVarint(d.r)
	d.err = err
	return stamp{at: at, author: d.name()}
}

// each yields every key of the table once. What is on disk is folded in parts, so
// that only one part is in memory beside what has not been spilled.
func (t *Touched) each(tab *touchedTable, yield func(id string, e *touch) error) error {
	if t.settle(); t.err != nil {
		return t.err
	}
	if tab.spilled == "" {
		for id, e := range tab.keys {
			if err := yield(id, e); err != nil {
				return err
			}
		}
		return nil
	}
	// What is left in memory joins the rest: a key has its records in one place.
	if err := t.flush(); err != nil {
		t.err = err
		return err
	}
	return t.spill.fold(tab.spilled, 0, yield)
}

// follow adds what was learnt of the key later.
func (e *touch) follow(later *touch) {
	e.inserted = e.inserted || later.inserted
	for _, h := range later.holders {
		e.hold(h)
	}
	if later.wrote != (stamp{}) {
		e.written(later.wrote)
	}
	if later.lost != nil {
		e.yielded(*later.lost)
	}
	if later.tomb != nil {
		e.deleted(*later.tomb)
	}
}

// hold notes a source in whose log the change was.
func (e *touch) hold(source string) {
	if source != "" && !slices.Contains(e.holders, source) {
		e.holders = append(slices.Clip(e.holders), source)
	}
}

// Mode says where the keys are: "memory", or "disk" for those that were spilled.
func (t *Touched) Mode() string {
	if t.spill != nil && t.spill.dir != "" {
		return "disk"
	}
	return "memory"
}

// Close removes the files of the keys that were spilled. A Touched is of no use
// after it.
func (t *Touched) Close() error {
	if t == nil || t.spill == nil || t.spill.dir == "" {
		return nil
	}
	dir := t.spill.dir
	t.spill.dir = ""
	if !strings.HasPrefix(filepath.Base(dir), spillPrefix) {
		return fmt.Errorf("spilled keys: %s is none of ours", dir)
	}
	return os.RemoveAll(dir)
}
