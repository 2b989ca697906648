package gateway

import (
	"sync/atomic"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// request is one payload on its way, whatever brought it. Each of its tables is a write of its own;
// the last write that gets its outcome has the request answered.
type request struct {
	options
	data      []byte
	primary   string // that the client chose, "" for none
	precision int64  // nanoseconds of a unit of line protocol's timestamps
	arrived   time.Time
	answerer  answerer

	held    int64 // bytes that admission counts for it
	results []api.WriteResult
	open    atomic.Int32 // writes without an outcome, and one while they are being handed out
}

// answerer sends a request's answer where it came from. Each request is answered once.
type answerer interface {
	// accepted and refused tables alike are in results; there is at least one.
	results([]api.WriteResult)
	// refused is the end of a request that named no table that could be looked at, or only one.
	refused(*api.Error)
	// empty is the end of a request without any row.
	empty()
}

// write is the rows of one request for one table.
type write struct {
	key     mergeKey
	batch   *columnar.Batch // nil once it is encoded
	schema  api.Schema      // has all its columns
	meta    api.WriteMeta
	bytes   int // of its rows in memory
	arrived time.Time
	request *request
	slot    int // its place in the request's results
}

// group is writes that travel together.
type group struct {
	key    mergeKey
	writes []*write
	bytes  int
}

// newWrite makes the write of a request's table number slot.
func (r *request) newWrite(slot int, b *columnar.Batch) *write {
	return &write{
		key:   mergeKey{table: b.Table(), durability: r.durability, primary: r.primary},
		batch: b,
		bytes: b.Bytes(),
		meta: api.WriteMeta{
			Rows: uint32(b.Rows()), Locked: r.locked, Expected: r.expected, ID: r.producer, Key: r.key,
		},
		arrived: r.arrived, request: r, slot: slot,
	}
}

// release gives the rows' memory back.
func (w *write) release() {
	if w.batch != nil {
		w.batch.Release()
		w.batch = nil
	}
}

// answer sends a request's answer: the error itself if it is about one table.
func (r *request) answer() {
	if len(r.results) == 1 && r.results[0].Error != nil {
		r.answerer.refused(r.results[0].Error)
		return
	}
	r.answerer.results(r.results)
}

// worst returns the error with the highest code, nil if every table was accepted.
func worst(results []api.WriteResult) (e *api.Error) {
	for i := range results {
		if r := results[i].Error; r != nil && (e == nil || r.Code > e.Code) {
			e = r
		}
	}
	return e
}
