package replicator

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/segment"
)

// reading is one read of a table on its way.
type reading struct {
	s       *Service
	ctx     context.Context // of the request: a reading lives no longer
	q       rowsQuery
	printer columnar.Writer
	next    uint64 // TxID
	vain    int    // passes in a row that printed nothing
	rows    int

	open disk.File // the segment file that was used last
	id   api.SegmentID
}

// vainMax is how many passes in a row may print nothing before a read is given up.
const vainMax = 3

// pass prints the table's records from next on. It ends early, without an error, if the record file was found
// damaged and has been read again from the log since.
func (rd *reading) pass() error {
	rd.vain++
	for r, err := range rd.s.tables.Read(rd.q.table, rd.next, rd.q.to) {
		if err != nil {
			rd.s.repairTable(rd.q.table, err)
			return rd.await(err)
		}
		if r.First > rd.next {
			return fmt.Errorf("table %s: TxIDs %d to %d are missing", rd.q.table, rd.next, r.First-1)
		}
		if err := rd.print(&r); err != nil {
			return fmt.Errorf("TxIDs %d to %d, segment %s: %w", r.First, r.Last(), r.Segment, err)
		}
		rd.next, rd.vain = r.Last()+1, 0
	}
	if rd.next <= rd.q.to {
		return rd.await(fmt.Errorf("table %s: nothing there from TxID %d on", rd.q.table, rd.next))
	}
	return nil
}

// await waits until a record file that was damaged has been read again from the log, as far as this read needs it.
func (rd *reading) await(err error) error {
	ctx, cancel := context.WithTimeout(rd.ctx, rd.s.cfg.RepairWait)
	defer cancel()
	for rd.vain < vainMax {
		changed := rd.s.watch()
		if rd.s.tables.AppliedTxID(rd.q.table) >= rd.q.to {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// print prints the accepted writes of a record that the query asks for.
func (rd *reading) print(r *api.LogRecord) error {
	if r.State == api.Void {
		return nil
	}
	frame, err := rd.frame(r)
	if err != nil {
		return err
	}
	g, err := segment.ParseGroup(frame)
	if err != nil {
		return err
	}
	if g.Header.Table != r.Table || len(g.Header.Writes) != int(r.Writes) {
		return fmt.Errorf("log record %d does not describe the group that it points to", r.Index)
	}
	schema, err := rd.s.deps.Catalog.Resolve(rd.ctx, r.Table, g.Header.Fingerprint)
	if err != nil {
		return err
	}
	rows, err := columnar.Decode(g.Arrow, schema)
	if err != nil {
		return err
	}
	defer rows.Release()
	if rows.Len() != g.Header.Rows() {
		return fmt.Errorf("group of %d rows says that it has %d", rows.Len(), g.Header.Rows())
	}
	return rd.printWrites(r, g.Header.Writes, rows)
}

// printWrites prints the accepted writes between next and the query's end; without a TxID column, neighbours are
// printed at once.
func (rd *reading) printWrites(r *api.LogRecord, writes []api.WriteMeta, rows *columnar.Rows) error {
	txid := r.First - 1
	begin, end := 0, 0 // rows that are to be printed and are not yet
	at := 0
	for i := range writes {
		from := at
		at += int(writes[i].Rows)
		if !r.Accepted(i) {
			continue
		}
		txid++
		if txid < rd.next || txid > rd.q.to {
			continue
		}
		if from != end || rd.q.txid != "" {
			if err := rd.printRun(rows, begin, end, txid-1); err != nil {
				return err
			}
			begin = from
		}
		end = at
	}
	return rd.printRun(rows, begin, end, min(txid, rd.q.to))
}

func (rd *reading) printRun(rows *columnar.Rows, begin, end int, txid uint64) error {
	if begin == end {
		return nil
	}
	rd.rows += end - begin
	return rd.printer.Write(rows, begin, end, txid)
}

// frame reads the group of a record, and if it is not there or damaged, sees to it that it is fetched again.
func (rd *reading) frame(r *api.LogRecord) ([]byte, error) {
	frame, err := rd.try(r)
	if err == nil {
		return frame, nil
	}
	// The open file may be one that somebody else has replaced since.
	if errClose := rd.close(); errClose != nil {
		return nil, errClose
	}
	if frame, again := rd.try(r); again == nil {
		return frame, nil
	}
	rd.s.deps.Logger.Warn("segment file is missing or damaged, fetching it again", "segment", r.Segment.String(),
		"table", r.Table, "txid", r.First, "error", err)
	rd.s.metrics.damage.WithLabelValues("segment").Inc()
	if err := rd.refetch(r); err != nil {
		return nil, err
	}
	rd.s.metrics.repairs.WithLabelValues("segment").Inc()
	return rd.try(r)
}

func (rd *reading) try(r *api.LogRecord) ([]byte, error) {
	if rd.open == nil || rd.id != r.Segment {
		if err := rd.close(); err != nil {
			return nil, err
		}
		f, err := rd.s.deps.FS.Open(segment.Path(rd.s.cfg.SegmentsDir, r.Segment))
		if err != nil {
			return nil, err
		}
		rd.open, rd.id = f, r.Segment
	}
	return segment.ReadGroup(rd.open, r.Offset, r.Length, r.CRC)
}

// refetch tries to fetch a record's segment until it comes, for as long as a read may wait. If it does not come, the
// node goes on trying without the reader.
func (rd *reading) refetch(r *api.LogRecord) error {
	if err := rd.close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(rd.ctx, rd.s.cfg.RepairWait)
	defer cancel()
	retry := time.NewTicker(min(rd.s.cfg.RetryMax, 250*time.Millisecond))
	defer retry.Stop()
	for {
		err := rd.s.segments.get(ctx, r.Segment, []*api.LogRecord{r})
		if err == nil {
			return nil
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			rd.s.admit(ailment{segment: r.Segment}, r.Table, err)
			return err
		}
	}
}

func (rd *reading) close() error {
	if rd.open == nil {
		return nil
	}
	f := rd.open
	rd.open = nil
	return f.Close()
}
