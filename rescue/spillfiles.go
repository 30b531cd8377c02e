package rescue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// flush moves all keys to the files.
func (t *Touched) flush() error {
	s := t.spill
	if s.dir == "" {
		dir, err := os.MkdirTemp(s.base, spillPrefix)
		if err != nil {
			return fmt.Errorf("spill keys: %w", err)
		}
		s.dir = dir
	}
	for _, tab := range t.tables {
		if len(tab.keys) == 0 && tab.logged == 0 {
			continue
		}
		if tab.spilled == "" {
			s.tables++
			tab.spilled = filepath.Join(s.dir, strconv.Itoa(s.tables))
		}
		if err := s.write(tab.spilled, tab.spillTo(s)); err != nil {
			return err
		}
		tab.records += len(tab.keys) + tab.logged
		tab.keys, tab.log, tab.logged = map[string]*touch{}, tab.log[:0], 0
	}
	s.used, s.logged = 0, 0
	return nil
}

// spillTo writes the keys of a table: those in the log came last.
func (tab *touchedTable) spillTo(s *spill) func(put func(part int, record []byte) error) error {
	return func(put func(int, []byte) error) error {
		var buf []byte
		one := func(id string, e *touch) error {
			buf = s.encode(buf[:0], id, e)
			return put(s.part(id, 0), buf)
		}
		for id, e := range tab.keys {
			if e.before != nil {
				if err := one(id, e.before); err != nil {
					return err
				}
			}
			if err := one(id, e); err != nil {
				return err
			}
		}
		return eachLogged(tab.log, func(l logged) error { return put(s.partOf(l.id), l.record) })
	}
}

// write appends records to the files of a name, each to that of its part.
func (s *spill) write(name string, each func(put func(part int, record []byte) error) error) (err error) {
	var files [fan]*os.File
	var out [fan]*bufio.Writer
	defer func() {
		for i, f := range files {
			if f != nil {
				err = errors.Join(err, out[i].Flush(), f.Close())
			}
		}
	}()
	err = each(func(p int, record []byte) error {
		if files[p] == nil {
			f, err := os.OpenFile(partFile(name, p), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return err
			}
			files[p], out[p] = f, bufio.NewWriterSize(f, 16<<10)
		}
		_, err := out[p].Write(record)
		return err
	})
	if err != nil {
		return fmt.Errorf("spill keys: %w", err)
	}
	return nil
}

func partFile(name string, part int) string { return name + "." + strconv.Itoa(part) }

// fold reads the files of a name.
func (s *spill) fold(name string, level int, yield func(string, *touch) error) error {
	for p := range fan {
		file := partFile(name, p)
		info, err := os.Stat(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("spilled keys: %w", err)
		}
		// In memory a record takes several times what it takes in the file.
		if info.Size() > int64(s.limit/4) && level+1 < maxLevels {
			err = s.divide(file, level+1, yield)
		} else {
			err = s.foldFile(file, yield)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// divide distributes a file that is too large over others, and reads those.
func (s *spill) divide(file string, level int, yield func(string, *touch) error) (err error) {
	name := file + "-" + strconv.Itoa(level)
	defer func() {
		for p := range fan {
			if rerr := os.Remove(partFile(name, p)); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	var buf []byte
	err = s.write(name, func(put func(int, []byte) error) error {
		return s.records(file, func(id string, e *touch) error {
			buf = s.encode(buf[:0], id, e)
			return put(s.part(id, level), buf)
		})
	})
	if err != nil {
		return err
	}
	return s.fold(name, level, yield)
}

func (s *spill) foldFile(file string, yield func(string, *touch) error) error {
	all := map[string]*touch{}
	err := s.records(file, func(id string, e *touch) error {
		if have := all[id]; have != nil {
			have.follow(e)
		} else if !e.perhaps {
			all[id] = e
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, e := range all {
		if err := yield(id, e); err != nil {
			return err
		}
	}
	return nil
}

// records reads a file in order.
func (s *spill) records(file string, put func(string, *touch) error) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("spilled keys: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		id, e, err := s.decode(r)
		if err != nil {
			return err
		}
		if err := put(id, e); err != nil {
			return err
		}
	}
}
