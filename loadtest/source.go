package loadtest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/seed-551dd829/braid/client"
)

func parseTime(b []byte) (int64, error) { return strconv.ParseInt(string(b), 10, 64) }

// batch is what one write sends.
type batch struct {
	table    string
	rows     int
	bytes    int    // of line protocol, also where Arrow is sent
	content  uint64 // see content.go
	opaque   bool   // the content is not known
	text     []byte // line protocol
	prepared *client.Prepared
}

// source makes the batches of a run. batch is called by many goroutines at once, each with a buffer of its own, which
// the batch may use until the next call.
type source interface {
	batch(n uint64, buf []byte) (b batch, used []byte, ok bool)
	tables() []string
	// reused says how content comes again in a run of so many rows, for the report; "" if it does not.
	reused(rows uint64) string
}

// cpuSource makes line protocol of the cpu-only shape.
type cpuSource struct {
	rows  *cpuRows
	table string
	size  int    // rows a batch
	total uint64 // rows in all, 0 for no end
}

func newCPUSource(c *Config) *cpuSource {
	rounds := uint64(cpuRoundsRing)
	if c.Rows > 0 {
		rounds = min(rounds, (c.Rows+hosts-1)/hosts)
	}
	return &cpuSource{newCPURows(c.Table, c.Seed, int(rounds)), c.Table, c.Batch, c.Rows}
}

func (s *cpuSource) batch(n uint64, buf []byte) (batch, []byte, bool) {
	first, size := n*uint64(s.size), uint64(s.size)
	if s.total > 0 {
		if first >= s.total {
			return batch{}, buf, false
		}
		size = min(size, s.total-first)
	}
	buf, content := s.rows.append(buf[:0], first, int(size))
	return batch{table: s.table, rows: int(size), bytes: len(buf), content: content, text: buf}, buf, true
}

func (s *cpuSource) tables() []string { return []string{s.table} }

func (s *cpuSource) reused(rows uint64) string {
	distinct := uint64(s.rows.rounds) * hosts
	if rows <= distinct {
		return ""
	}
	return fmt.Sprintf("field values repeat every %s rows, timestamps go on", grouped(distinct))
}

// fileSource sends a file's rows, each table's for itself, in the file's order.
type fileSource struct {
	batches []batch
	names   []string
}

func newFileSource(c *Config, path string) (*fileSource, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	rows, err := splitRows(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Rows > 0 && uint64(len(rows)) > c.Rows {
		rows = rows[:c.Rows]
	}
	s := &fileSource{}
	open := make(map[string]*batch)
	for i := range rows {
		r := &rows[i]
		b := open[r.table]
		if b == nil {
			b = &batch{table: r.table}
			open[r.table] = b
			s.names = append(s.names, r.table)
		}
		b.add(r)
		if b.rows == c.Batch || len(b.text) > payloadMax {
			s.batches = append(s.batches, *b)
			*b = batch{table: r.table}
		}
	}
	for _, name := range s.names {
		if b := open[name]; b.rows > 0 {
			s.batches = append(s.batches, *b)
		}
	}
	if len(s.batches) == 0 {
		return nil, fmt.Errorf("%s has no rows", path)
	}
	return s, nil
}

// payloadMax keeps a batch of long rows under the request limit.
const payloadMax = 7 << 20

func (b *batch) add(r *row) {
	b.text = append(append(b.text, r.text...), '\n')
	b.bytes = len(b.text)
	b.rows++
	b.content = then(b.content, r.sum)
	b.opaque = b.opaque || r.opaque
}

func (s *fileSource) batch(n uint64, buf []byte) (batch, []byte, bool) {
	if n >= uint64(len(s.batches)) {
		return batch{}, buf, false
	}
	return s.batches[n], buf, true
}

func (s *fileSource) tables() []string     { return s.names }
func (s *fileSource) reused(uint64) string { return "" }

// Prepared batches are encoded before the run; the same ones are sent again and again.
const (
	preparedMax      = 64
	preparedBytesMax = 256 << 20
)

// preparedSource sends batches of another source that were encoded once.
type preparedSource struct {
	of      source
	batches []batch
	total   uint64 // batches in all, 0 for no end
	size    int
	tail    *batch // the last one, if it is shorter
}

// prepare encodes batches of a source with a client.
func prepare(ctx context.Context, c *client.Client, of source, cfg *Config) (*preparedSource, error) {
	s := &preparedSource{of: of, size: cfg.Batch}
	_, isFile := of.(*fileSource)
	most := uint64(preparedMax)
	switch {
	case isFile:
		most = uint64(len(of.(*fileSource).batches))
		s.total = most
	case cfg.Rows > 0:
		s.total = (cfg.Rows + uint64(cfg.Batch) - 1) / uint64(cfg.Batch)
		most = min(most, s.total)
		if cfg.Rows%uint64(cfg.Batch) != 0 {
			last, err := prepareOne(ctx, c, of, s.total-1)
			if err != nil {
				return nil, err
			}
			s.tail = &last
		}
	}
	for n, bytes := uint64(0), 0; n < most; n++ {
		b, err := prepareOne(ctx, c, of, n)
		if err != nil {
			return nil, err
		}
		bytes += len(b.prepared.Arrow())
		if bytes > preparedBytesMax && n > 0 {
			if isFile {
				return nil, fmt.Errorf("the file takes more than %d bytes encoded: send it with --format ilp", preparedBytesMax)
			}
			break
		}
		s.batches = append(s.batches, b)
	}
	return s, nil
}

func prepareOne(ctx context.Context, c *client.Client, of source, n uint64) (batch, error) {
	b, _, ok := of.batch(n, nil)
	if !ok {
		return batch{}, fmt.Errorf("batch %d does not exist", n)
	}
	p, err := c.Table(b.table).Prepare(ctx, client.LineProtocol(b.text))
	if err != nil {
		return batch{}, fmt.Errorf("prepare %d rows of table %s: %w", b.rows, b.table, err)
	}
	b.prepared, b.text = p, nil
	return b, nil
}

func (s *preparedSource) batch(n uint64, buf []byte) (batch, []byte, bool) {
	switch {
	case s.total > 0 && n >= s.total:
		return batch{}, buf, false
	case s.tail != nil && n == s.total-1:
		return *s.tail, buf, true
	}
	return s.batches[n%uint64(len(s.batches))], buf, true
}

func (s *preparedSource) tables() []string { return s.of.tables() }

func (s *preparedSource) reused(rows uint64) string {
	if n := uint64(len(s.batches)); rows > n*uint64(s.size) {
		return fmt.Sprintf("%d batches were encoded before the run and sent again and again", n)
	}
	return "encoded before the run"
}

// newSource makes the workload's source of line protocol.
func newSource(c *Config) (source, error) {
	if path, ok := c.path(); ok {
		s, err := newFileSource(c, path)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return newCPUSource(c), nil
}
