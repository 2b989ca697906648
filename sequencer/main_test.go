package sequencer

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, fdbtest.Prepare()) }

// world is a store with the core on it, for tests that step through requests.
type world struct {
	t     testing.TB
	store kv.Store
	core  Core
}

var testCore = Core{Shards: 1, KeyWindow: 120, ProducerIdle: 1000}

func newWorld(t testing.TB, store kv.Store) *world {
	t.Helper()
	w := &world{t: t, store: store, core: testCore}
	w.update(func(x kv.Txn) error { _, err := Open(x, "c1", w.core.Shards); return err })
	return w
}

func newMemoryWorld(t testing.TB) *world { return newWorld(t, memory.New(memory.Options{})) }

func (w *world) try(f func(kv.Txn) error) error { return w.store.Update(context.Background(), f) }

func (w *world) update(f func(kv.Txn) error) {
	w.t.Helper()
	if err := w.try(f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(f func(kv.Reader) error) {
	w.t.Helper()
	if err := w.store.View(context.Background(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) node(id, attempt string) (epoch uint64) {
	w.t.Helper()
	w.update(func(x kv.Txn) error {
		r := api.RegisterNodeRequest{ID: id, Role: api.Primary, Mark: "m-" + id, Attempt: attempt}
		a, err := w.core.RegisterNode(x, r)
		epoch = a.Epoch
		return err
	})
	return epoch
}

func (w *world) producer(id, attempt string) (a api.RegisterProducerAnswer) {
	w.t.Helper()
	w.update(func(x kv.Txn) (err error) {
		a, err = w.core.RegisterProducer(x, api.RegisterProducerRequest{ID: id, Attempt: attempt})
		return err
	})
	return a
}

// schema grows the table by one column, and returns its fingerprint.
func (w *world) schema(table, name string, typ api.ColumnType) api.Fingerprint {
	w.t.Helper()
	var columns []api.Column
	w.update(func(x kv.Txn) error {
		a, err := w.core.GrowSchema(x, api.SchemaRequest{Table: table, Columns: []api.Column{{Name: name, Type: typ}}})
		columns = a.Columns
		return err
	})
	s, err := api.NewSchema(columns)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Fingerprint(s.Len())
}

// request encodes and parses a request, as it would travel.
func (w *world) request(r api.CommitRequest) *Request {
	w.t.Helper()
	parsed, err := w.core.ParseRequest(api.AppendCommitRequest(nil, &r), api.Shard(mustTable(w.t, r), w.core.Shards))
	if err != nil {
		w.t.Fatal(err)
	}
	return parsed
}

func mustTable(t testing.TB, r api.CommitRequest) string {
	t.Helper()
	h, err := api.ParseGroupHeader(r.Groups[0].Header)
	if err != nil {
		t.Fatal(err)
	}
	return h.Table
}

func (w *world) commit(requests ...*Request) (out Committed) {
	w.t.Helper()
	w.update(func(x kv.Txn) (err error) {
		out, err = w.core.Commit(x, 0, requests)
		return err
	})
	return out
}

func (w *world) log() []api.LogRecord {
	w.t.Helper()
	var a api.LogAnswer
	w.view(func(r kv.Reader) error {
		raw, err := w.core.ReadLog(r, nil, 0, api.LogRequest{From: 1})
		if err == nil {
			a, err = api.ParseLogAnswer(raw)
		}
		return err
	})
	return a.Records
}

func group(h api.GroupHeader, segment uint64) api.CommitGroup {
	return api.CommitGroup{
		Segment: segment, Length: 100, CRC: 7, State: api.Confirmed, Header: api.AppendGroupHeader(nil, &h),
	}
}
