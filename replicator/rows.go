package replicator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/table"
)

// rowsBuffer is how much of an answer is held back. As long as nothing has left it, a failure is a proper error.
const rowsBuffer = 64 << 10

// serveTable reads a table, at once or when there is something to read.
func (s *Service) serveTable(w http.ResponseWriter, r *http.Request) {
	q, err := parseRowsQuery(r.PathValue("table"), r.URL.RawQuery)
	if err != nil {
		s.refuse(w, api.AsError(err))
		return
	}
	free, err := s.turn(r.Context(), q)
	if err != nil {
		s.refuse(w, api.AsError(err))
		return
	}
	defer free()
	s.serveRows(w, r, q)
}

// turn returns when a read may begin. One that waits for its rows takes no place of those who read, and then takes its
// turn: all who wait for the same rows wake at once.
func (s *Service) turn(ctx context.Context, q rowsQuery) (free func(), err error) {
	here := func() bool { return s.tables.AppliedTxID(q.table) >= q.from }
	if q.wait == 0 || here() {
		return s.place(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, min(q.wait, s.cfg.WaitMax))
	defer cancel()
	leave, err := s.waits.join(q.table)
	if err != nil {
		return nil, err
	}
	defer leave()
	s.waits.until(ctx, q.table, here)
	return s.place(ctx.Done())
}

func (s *Service) serveRows(w http.ResponseWriter, r *http.Request, q rowsQuery) {
	applied := s.tables.AppliedTxID(q.table)
	if why := s.Standing()[q.table]; applied == 0 && why != nil { // it has rows, which are not here now
		s.refuse(w, api.Errorf(api.Unavailable, "table %q on node %s: %v", q.table, s.cfg.ID, why).InTable(q.table))
		return
	}
	if applied == 0 {
		s.refuse(w, api.Errorf(api.NotFound, "table %q has no transaction on node %s", q.table, s.cfg.ID).InTable(q.table))
		return
	}
	q.to = min(q.to, applied)
	schema, err := s.schema(r.Context(), q.table)
	if err != nil {
		s.refuse(w, api.AsError(err).InTable(q.table))
		return
	}
	out := &sender{w: w, timeout: s.cfg.WriteTimeout}
	buffer := bufio.NewWriterSize(out, rowsBuffer)
	printer, err := columnar.NewWriter(buffer, q.format, schema, q.txid)
	if err != nil { // what was asked for cannot be had of this table
		s.refuse(w, api.AsError(err).InTable(q.table))
		return
	}
	w.Header().Set(api.HeaderContentType, contentTypes[q.format])
	w.Header().Set(api.HeaderTxID, strconv.FormatUint(q.to, 10))
	if r.Method == http.MethodHead {
		return
	}
	if err := s.sendRows(r.Context(), out, buffer, q, printer); err != nil {
		s.breakOff(r.Context(), out, q, err)
	}
}

// schema is the table's schema now. Columns are added before the rows that have them, so one read after the applied
// TxID covers every group up to there; without the sequencer, what is remembered has to do.
func (s *Service) schema(ctx context.Context, table string) (api.Schema, error) {
	ask, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	schema, err := s.deps.Catalog.Refresh(ask, table)
	if err != nil {
		remembered, _ := s.deps.Catalog.Schema(ask, table)
		if remembered.Len() == 0 {
			return remembered, fmt.Errorf("schema of table %s: %w", table, err)
		}
		s.metrics.errors.WithLabelValues("schema").Inc()
		return remembered, nil
	}
	if schema.Len() == 0 {
		return schema, api.Errorf(api.Unavailable, "the sequencer knows no schema of table %s", table)
	}
	return schema, nil
}

// breakOff ends an answer that cannot be completed: with an error as long as nothing was sent, else by cutting the
// connection, so that no client takes what it got for everything.
func (s *Service) breakOff(ctx context.Context, out *sender, q rowsQuery, err error) {
	if ctx.Err() == nil && out.err == nil {
		s.metrics.readsBroken.Inc()
		s.deps.Logger.Error("read broken off", "table", q.table, "error", err)
	}
	if out.sent {
		panic(http.ErrAbortHandler)
	}
	out.w.Header().Del(api.HeaderTxID)
	s.refuse(out.w, api.AsError(err).InTable(q.table))
}

// sender is the client's side of an answer. A client that takes nothing for too long is given up.
type sender struct {
	w       http.ResponseWriter
	timeout time.Duration
	sent    bool
	err     error
}

func (o *sender) Write(b []byte) (int, error) {
	o.sent = true
	err := http.NewResponseController(o.w).SetWriteDeadline(time.Now().Add(o.timeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// release takes the deadline off a connection that the client may use again.
func (o *sender) release() error {
	err := http.NewResponseController(o.w).SetWriteDeadline(time.Time{})
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// sendRows prints into buffer, behind which is out.
func (s *Service) sendRows(
	ctx context.Context, out *sender, buffer *bufio.Writer, q rowsQuery, printer columnar.Writer,
) (err error) {
	rd := &reading{s: s, ctx: ctx, q: q, printer: printer, next: q.from}
	defer func() { err = errors.Join(err, rd.close()) }()
	for rd.next <= q.to {
		if err := rd.pass(); err != nil {
			return err
		}
	}
	// In this order, and only now: the end of an answer says that it is whole.
	if err := printer.Close(); err != nil {
		return err
	}
	s.metrics.readRows.WithLabelValues(q.format).Add(float64(rd.rows))
	return errors.Join(buffer.Flush(), out.release())
}

// repairTable has a damaged record file cut and read again from the log. One that cannot be read, or not be repaired,
// is tried again later.
func (s *Service) repairTable(name string, err error) {
	s.metrics.damage.WithLabelValues("table").Inc()
	if corrupt := new(table.CorruptError); errors.As(err, &corrupt) {
		if err = s.tables.Repair(name); err == nil {
			s.metrics.repairs.WithLabelValues("table").Inc()
			s.shards[api.Shard(name, len(s.shards))].poke(Hint{})
			return
		}
	}
	s.admit(ailment{table: name}, name, err)
}
