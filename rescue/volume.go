package rescue

import (
	"context"

	"healer/topology"
)

// volume counts the bytes of transactions once T has them: those that were sent and are
// not answered wait in line.
type volume struct{ line []sized }

type sized struct {
	lsn   topology.LSN
	bytes int64
}

// sent adds a transaction behind those before it.
func (v *volume) sent(lsn topology.LSN, bytes int64) {
	if bytes > 0 {
		v.line = append(v.line, sized{lsn, bytes})
	}
}

// reached takes those out of the line that T has by its progress, and returns their bytes.
func (v *volume) reached(progress topology.LSN) (bytes int64) {
	n := 0
	for ; n < len(v.line) && v.line[n].lsn <= progress; n++ {
		bytes += v.line[n].bytes
	}
	if n > 0 {
		v.line = append(v.line[:0], v.line[n:]...)
	}
	return bytes
}

// finish ends a transaction that is applied.
func (r *replay) finish(ctx context.Context) error {
	r.volume.sent(r.tx.lsn, r.tx.bytes)
	err := r.target.finish(ctx)
	r.report.Bytes += r.volume.reached(r.progress())
	return err
}
