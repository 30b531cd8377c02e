package rescue

import (
	"testing"
	"time"
)

// TestReplayOfTenThousandTransactions carries over and compares a gap of 10,000
// single-row transactions, and logs how fast; it asserts no time.
func TestReplayOfTenThousandTransactions(t *testing.T) {
	l := newLab(t, []string{`create table t (id int primary key, v text)`})
	l.exec("n1", `do $$ begin for i in 1..10000 loop insert into t values (i, 'row ' || i); commit; end loop; end $$`)
	l.lose()
	s, err := NewSession(t.Context(), l.connect("n3", ""), l.target())
	l.must(err)
	stream := l.stream(l.clone())
	gap := l.gap()
	gap.Settle = nil
	begin := time.Now()
	report, touched, err := Replay(t.Context(), s, stream, gap)
	took := time.Since(begin)
	l.must(err)
	if report.Rows != 10000 {
		t.Errorf("%d rows", report.Rows)
	}
	t.Logf("%d rows in %s: %.0f rows/s", report.Rows, took, float64(report.Rows)/took.Seconds())
	l.must(stream.Close(t.Context()))
	l.must(s.Close(t.Context()))
	begin = time.Now()
	v, err := l.verify(touched)
	l.must(err)
	t.Logf("%d rows compared in %s", v.Rows, time.Since(begin))
}
