package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// world is what is around a replicator: the commit logs, the schemas, the object store, NATS.
type world struct {
	t       testing.TB
	nc      *nats.Conn
	objects *shelf
	shards  int

	mu       sync.Mutex
	logs     [][]api.LogRecord
	schemas  map[string][]api.Column
	heads    map[string]uint64
	segments uint64
	down     atomic.Bool // the sequencer does not answer
	nodes    []api.Node
	largest  atomic.Int64 // most records in one answer
}

// shelf is an object store that can lose everything, and hang at one key.
type shelf struct {
	objstore.Store
	lost atomic.Bool

	mu    sync.Mutex
	stuck string
	free  chan struct{} // closed when nothing hangs any more
}

// hang lets the reading of key hang, "" ends that.
func (s *shelf) hang(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != nil {
		close(s.free)
	}
	s.stuck, s.free = key, make(chan struct{})
}

func (s *shelf) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if s.lost.Load() {
		return nil, 0, objstore.ErrNotFound
	}
	s.mu.Lock()
	stuck, free := s.stuck == key, s.free
	s.mu.Unlock()
	if stuck {
		select {
		case <-free:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	return s.Store.Get(ctx, key)
}

func newWorld(t testing.TB, shards int) *world {
	t.Helper()
	objects, err := objstore.Open(context.Background(), "mem:", objstore.S3Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, nc: natstest.Connect(t, natstest.Server(t)), objects: &shelf{Store: objects}, shards: shards,
		logs: make([][]api.LogRecord, shards), schemas: make(map[string][]api.Column), heads: make(map[string]uint64)}
}

// Heads and Log are the sequencer's, as a Sequencer has them.
func (w *world) Heads(context.Context) ([]uint64, error) {
	if w.down.Load() {
		return nil, bus.ErrNoResponders
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	heads := make([]uint64, len(w.logs))
	for i, log := range w.logs {
		heads[i] = uint64(len(log))
	}
	return heads, nil
}

func (w *world) Log(_ context.Context, shard int, r api.LogRequest) (api.LogAnswer, error) {
	if w.down.Load() {
		return api.LogAnswer{}, bus.ErrNoResponders
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.logs[shard]
	a := api.LogAnswer{Head: uint64(len(log))}
	if r.From <= a.Head {
		a.Records = log[r.From-1 : min(a.Head, r.From-1+uint64(r.Limit))]
	}
	w.largest.Store(max(w.largest.Load(), int64(len(a.Records))))
	return a, nil
}

func (w *world) schema(_ context.Context, r api.SchemaRequest) (api.SchemaAnswer, error) {
	if w.down.Load() {
		return api.SchemaAnswer{}, bus.ErrNoResponders
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.SchemaAnswer{Columns: w.schemas[r.Table]}, nil
}

// write is one write of a group: its rows as NDJSON, and whether the sequencer refuses it.
type write struct {
	rows    string
	refused bool
}

type group struct {
	table  string
	writes []write
}

// commit seals one segment of the groups, puts it into the object store and commits them.
func (w *world) commit(groups ...group) api.SegmentID {
	w.t.Helper()
	id, file, records := w.seal(groups)
	if err := w.objects.Put(context.Background(), id.Key(), objstore.Bytes(file)); err != nil {
		w.t.Fatal(err)
	}
	w.append(records)
	return id
}

func (w *world) append(records []api.LogRecord) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range records {
		shard := api.Shard(r.Table, w.shards)
		r.Index = uint64(len(w.logs[shard]) + 1)
		r.First = w.heads[r.Table] + 1
		w.heads[r.Table] = r.Last()
		w.logs[shard] = append(w.logs[shard], r)
		if err := w.nc.Publish(api.Subjects{}.Commits(shard), fmt.Append(nil, r.Index)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) seal(groups []group) (id api.SegmentID, file []byte, records []api.LogRecord) {
	w.t.Helper()
	w.segments++
	id = api.SegmentID{Node: "p1", Epoch: 1, Sequence: w.segments}
	var buf bytes.Buffer
	sw, err := segment.NewWriter(&buf, id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range groups {
		frame, r := w.encode(g)
		if r.Offset, err = sw.Append(frame); err != nil {
			w.t.Fatal(err)
		}
		r.Segment = id
		records = append(records, r)
	}
	if _, err := sw.Finish(); err != nil {
		w.t.Fatal(err)
	}
	return id, buf.Bytes(), records
}

func (w *world) encode(g group) ([]byte, api.LogRecord) {
	w.t.Helper()
	r := api.LogRecord{Table: g.table, State: api.Confirmed, Writes: uint32(len(g.writes)),
		Mask: make([]byte, (len(g.writes)+7)/8)}
	h := api.GroupHeader{Table: g.table}
	var batches []*columnar.Batch
	for i, wr := range g.writes {
		b, bad := columnar.ParseNDJSON([]byte(wr.rows), g.table, 0)
		if bad != nil {
			w.t.Fatal(bad)
		}
		h.Writes = append(h.Writes, api.WriteMeta{Rows: uint32(b.Rows())})
		if !wr.refused {
			r.Mask[i/8] |= 1 << (i % 8)
			r.Rows += uint64(b.Rows())
		}
		batches = append(batches, b)
	}
	schema := w.grow(g.table, batches)
	h.Fingerprint = schema.Fingerprint(schema.Len())
	ipc, err := columnar.Encode(nil, schema, batches)
	if err != nil {
		w.t.Fatal(err)
	}
	frame := segment.AppendGroup(nil, &h, ipc)
	r.Length, r.CRC = uint32(len(frame)), segment.FrameCRC(frame)
	return frame, r
}

func (w *world) grow(table string, batches []*columnar.Batch) api.Schema {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.schemas[table] == nil {
		w.schemas[table] = []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}
	}
	for _, b := range batches {
		for {
			schema, err := api.NewSchema(w.schemas[table])
			if err != nil {
				w.t.Fatal(err)
			}
			missing, bad := b.Missing(schema)
			if bad != nil {
				w.t.Fatal(bad)
			}
			if len(missing) == 0 {
				break
			}
			w.schemas[table] = append(w.schemas[table][:schema.Len():schema.Len()], missing...)
		}
	}
	schema, err := api.NewSchema(w.schemas[table])
	if err != nil {
		w.t.Fatal(err)
	}
	return schema
}

// node is a replicator that runs.
type node struct {
	*Service
	fs   *disk.Memory
	http *httptest.Server
	stop func() error
}

func (w *world) config(id string) Config {
	return Config{ID: id, DataDir: "/node", SegmentsDir: "/node/segments", RetryMax: 50 * time.Millisecond,
		PollInterval: 20 * time.Millisecond, CheckpointInterval: 20 * time.Millisecond}
}

// start runs a node on a disk until the test ends or stop is called.
func (w *world) start(fsys *disk.Memory, cfg Config) *node {
	w.t.Helper()
	s, err := New(cfg, Deps{Conn: w.nc, FS: fsys, Objects: w.objects, Sequencer: w,
		Catalog: catalog.New(w.schema, 100), Shards: w.shards, Logger: quiet,
		Topology: w.topology})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	n := &node{Service: s, fs: fsys, http: httptest.NewServer(s.Handler())}
	var once sync.Once
	n.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
			n.http.Close()
		})
		return err
	}
	w.t.Cleanup(func() {
		if err := n.stop(); err != nil {
			w.t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = append(w.nodes, api.Node{ID: cfg.ID, HTTP: strings.TrimPrefix(n.http.URL, "http://")})
	return n
}

func (w *world) topology(context.Context) (api.Topology, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.Topology{Nodes: slices.Clone(w.nodes)}, nil
}

// startFresh runs a node with an empty disk and waits until it has everything.
func (w *world) startFresh(id string) *node {
	w.t.Helper()
	n := w.start(disk.NewMemory(), w.config(id))
	n.wait(w)
	return n
}

// wait waits until the node has applied everything that is committed.
func (n *node) wait(w *world) {
	w.t.Helper()
	natstest.EventuallyNil(w.t, "the node has everything", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for table, head := range w.heads {
			if got := n.tables.AppliedTxID(table); got != head {
				return fmt.Errorf("table %s: applied %d of %d", table, got, head)
			}
		}
		return nil
	})
}

// get reads a path of the node; an answer that breaks off is an error.
func (n *node) get(path string) (status int, header http.Header, body string, err error) {
	r, err := http.Get(n.http.URL + path)
	if err != nil {
		return 0, nil, "", err
	}
	defer r.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(r.Body)
	return r.StatusCode, r.Header, b.String(), err
}

func (n *node) mustGet(t testing.TB, path string) string {
	t.Helper()
	status, _, body, err := n.get(path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v: %s", path, status, err, body)
	}
	return body
}

// damage changes a segment file in place of the node's disk.
func (n *node) damage(t testing.TB, id api.SegmentID, change func([]byte) []byte) {
	t.Helper()
	path := segment.Path("/node/segments", id)
	b, err := disk.ReadFile(n.fs, path)
	if err == nil {
		err = n.fs.WriteFileSync(path, change(b))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x20; return b }
}

func rows(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "{\"timestamp\":%d,\"n\":%d}\n", 1000+i, i)
	}
	return b.String()
}

var errNotYet = errors.New("not yet")

func recordsFile(table string) string { return filepath.Join("/node/tables", table, "records") }
