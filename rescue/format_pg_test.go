package rescue

import (
	"bytes"
	"strconv"
	"testing"

	"healer/internal/localpg"
	spockwire "healer/postgres/spock/wire"
	"healer/postgres/spock/wire/wiretest"
)

// spoken is a stream of pgoutput as Spock's plugin would send it: each message of a
// real server is written in Spock's native protocol, and translated back by what
// reads that of a Spock node.
type spoken struct {
	pgoutput []string
	enc      wiretest.Encoder
	dec      decoder
	back     *spockwire.Translator
	// started is set behind the startup message, told once it is said whose the
	// transaction is.
	started, told bool
	// ids are the nodes' that stand for origins.
	ids map[string]uint16
}

const spokenSelf = 0xd6b7

func newSpoken(l *lab, version int) *spoken {
	s := &spoken{
		pgoutput: StreamOptions{Publications: []string{localpg.Publication}}.args(16),
		enc:      wiretest.Encoder{Version: version, Written: 1 << 40}, ids: map[string]uint16{},
	}
	names := map[uint16]string{}
	for name := range l.authors("n2") {
		id := uint16(0xc20c + len(names))
		names[id], s.ids[name] = name, id
	}
	s.back = spockwire.NewTranslator(spockwire.Source{Version: 50011, Origins: spockwire.Origins{Self: spokenSelf, Names: names}})
	return s
}

func (s *spoken) Options() []string { return s.pgoutput }

func (s *spoken) Translate(b []byte, emit func([]byte) error) error {
	m, err := s.dec.decode(b)
	if err != nil {
		return err
	}
	for _, said := range s.say(m) {
		if err := s.back.Translate(said, emit); err != nil {
			return err
		}
	}
	return nil
}

// say writes one message, with what Spock sends before it.
func (s *spoken) say(m message) [][]byte {
	var out [][]byte
	put := func(m spockwire.Message) { out = append(out, bytes.Clone(s.enc.Message(m))) }
	if !s.started {
		params := map[string]string{"proto_version": strconv.Itoa(s.enc.Version), "database_encoding": "UTF8"}
		out, s.started = append(out, bytes.Clone(s.enc.Startup(params))), true
	}
	switch m.kind {
	case msgBegin, msgOrigin, msgRelation, msgType:
	default: // pgoutput says nothing of the node's own
		if !s.told {
			put(spockwire.Message{Kind: spockwire.Origin, Node: spokenSelf})
			put(spockwire.Message{Kind: spockwire.CommitOrder})
			s.told = true
		}
	}
	switch m.kind {
	case msgBegin:
		s.told = false
		put(spockwire.Message{Kind: spockwire.Begin, LSN: m.lsn, Time: m.time})
	case msgOrigin:
		s.told = true
		put(spockwire.Message{Kind: spockwire.Origin, LSN: m.lsn, Node: s.ids[m.origin], Name: "n1"})
		put(spockwire.Message{Kind: spockwire.CommitOrder})
	case msgCommit:
		put(spockwire.Message{Kind: spockwire.Commit, LSN: m.lsn, End: m.lsn, Time: m.time})
	case msgRelation:
		t := &spockwire.Table{ID: m.rel.id, Name: m.rel.table}
		for _, c := range m.rel.columns {
			t.Columns = append(t.Columns, spockwire.Column{Name: c.name, Key: c.key && m.rel.identity != identityFull})
		}
		put(spockwire.Message{Kind: spockwire.Relation, Table: t})
	case msgInsert, msgUpdate, msgDelete:
		put(spockwire.Message{Kind: spockwire.Kind(m.kind), Rel: m.relID, Old: wireRow(m.old), New: wireRow(m.new)})
	case msgTruncate:
		put(spockwire.Message{Kind: spockwire.Truncate, Rels: m.relIDs, Restart: m.restart})
	case msgType, msgMessage:
	}
	return out
}

func wireRow(t tuple) spockwire.Row {
	if t == nil {
		return nil
	}
	row := spockwire.Row{}
	for _, d := range t {
		row = append(row, spockwire.Value{Format: spockwire.Format(d.kind), Data: d.text})
	}
	return row
}

// TestSpocksStreamCarriesTheSame heals two laggards from the log of a real server,
// said in both versions of Spock's protocol: rows, keys that move, tables without a
// key, values that are not sent, and TRUNCATE come to the same.
func TestSpocksStreamCarriesTheSame(t *testing.T) {
	l := newLabOf(t, 4, []string{
		`create table kv (k bigint primary key, v text, big text)`,
		`create table f (v text, n int); alter table f replica identity full`,
		`create table log (v text)`, `create table cut (k int primary key)`,
	},
		`insert into kv select g, 'seed', repeat(md5(g::text), 200) from generate_series(1, 20) g; alter table kv alter big set storage external`,
		`insert into f values ('a', 1), ('a', 1), ('b', null); insert into cut values (1), (2)`)
	for _, sql := range []string{
		`update kv set v = 'n1' where k <= 10; update kv set k = k + 100 where k in (3, 4); delete from kv where k = 5`,
		`insert into kv values (200, E'\\x ''"', null), (201, '', 'ä')`,
		`update f set n = 2 where v = 'b'; delete from f where ctid = (select min(ctid) from f where v = 'a')`,
		`insert into log values ('x'), ('x'), (null)`, `truncate cut; insert into cut values (3)`,
	} {
		l.exec("n1", sql)
	}
	l.caughtUp("n1", "n2")
	l.exec("n2", `update kv set v = 'n2' where k = 103; delete from kv where k = 200`)
	l.lose()
	var all []*Touched
	for node, version := range map[string]int{"n3": 4, "n4": 5} {
		l.format = func() Format { return newSpoken(l, version) }
		report, touched, err := l.replayTo(node)
		l.must(err)
		if report.Transactions != 5 || report.Applied != 5 {
			t.Errorf("%s in protocol %d: %d of %d transactions applied, want all 5", node, version, report.Applied, report.Transactions)
		}
		all = append(all, touched)
	}
	_, err := l.verify(all...)
	l.must(err)
	for _, table := range []string{"kv", "f", "log", "cut"} {
		content := `select coalesce(string_agg(t::text, e'\n' order by t::text), '') from ` + table + ` t`
		want := l.text("n2", content)
		for _, node := range []string{"n3", "n4"} {
			if got := l.text(node, content); got != want || got == "" {
				t.Errorf("table %s on %s:\n%s\nwant:\n%s", table, node, head(got), head(want))
			}
		}
	}
}
