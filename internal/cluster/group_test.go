package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/lineproto"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/table"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
	kvmemory "github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// What a group meets on its way, end to end: a primary's check; the sequencer, which refuses a whole request over one
// group that it cannot read, and ends the primary by it; the segment; and every node, whose table stands for ever at a
// group that it cannot read. So whatever the first lets in, the others must take.

// FuzzGroup changes real groups, with lengths and checksums set right again so that what is behind them is reached:
// a group is refused by the primary's check, or it is taken everywhere and reads the same everywhere.
func FuzzGroup(f *testing.F) {
	w := newGroupWorld(f)
	frames := w.groups(f)
	for i := range frames {
		f.Add(uint8(i), []byte(nil))
		f.Add(uint8(i), []byte{40, 1, 3, 7, 200, 0, 2, 1})
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		w.try(t, mutated(frames[int(which)%len(frames)], edits))
	})
}

// TestI8_EveryByteOfAGroup flips a bit of every byte of small groups, and cuts them everywhere.
func TestI8_EveryByteOfAGroup(t *testing.T) {
	w := newGroupWorld(t)
	taken := 0
	for _, frame := range w.groups(t)[:3] {
		if !w.try(t, frame) {
			t.Fatal("a good group is refused")
		}
		for i := range frame {
			bad := slices.Clone(frame)
			bad[i] ^= 1 << (i % 8)
			if w.try(t, bad) {
				t.Fatalf("the checksum does not cover byte %d", i)
			}
			if w.try(t, mutated(bad, nil)) {
				taken++
			}
			if w.try(t, mutated(frame[:i], nil)) {
				t.Fatalf("a group that is cut at byte %d is taken", i)
			}
		}
	}
	if taken == 0 { // a timestamp is as good as another
		t.Fatal("not one changed group was taken: the test reaches nothing")
	}
}

// mutated applies edits, four bytes each, and sets length and checksum right.
func mutated(frame, edits []byte) []byte {
	b := slices.Clone(frame)
	for ; len(edits) >= 4 && len(b) > 16; edits = edits[4:] {
		at, n := int(binary.LittleEndian.Uint16(edits))%(len(b)-8), int(edits[3])
		word := binary.LittleEndian.Uint32(b[at:])
		switch edits[2] % 8 {
		case 0:
			b[at] = edits[3]
		case 1:
			b[at] ^= 1 << (n % 8)
		case 2:
			binary.LittleEndian.PutUint32(b[at:], word+uint32(n))
		case 3:
			binary.LittleEndian.PutUint32(b[at:], word-uint32(n))
		case 4:
			odd := [...]uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}
			binary.LittleEndian.PutUint64(b[at:], odd[n%len(odd)])
		case 5:
			copy(b[at:], b[n*len(b)/256:])
		case 6:
			b = slices.Delete(b, at, min(at+n, len(b)))
		case 7:
			b = slices.Insert(b, at, slices.Clone(b[at:min(at+n, len(b))])...)
		}
	}
	if len(b) < 13 {
		return b
	}
	return segment.FinishGroup(b, 0)
}

// groupWorld is a sequencer's store with tables, and what a primary and nodes know of them.
type groupWorld struct {
	core     sequencer.Core
	store    kv.Store
	schemas  map[string]api.Schema
	node     uint64 // epoch of p1
	producer uint64 // epoch of g1
}

const groupShards = 4

func newGroupWorld(t testing.TB) *groupWorld {
	t.Helper()
	w := &groupWorld{core: sequencer.Core{Shards: groupShards, KeyWindow: 100, ProducerIdle: 1000},
		store: kvmemory.New(kvmemory.Options{Shards: groupShards}), schemas: map[string]api.Schema{}}
	err := w.store.Update(context.Background(), func(txn kv.Txn) error {
		_, e1 := sequencer.Open(txn, "c", groupShards)
		n, e2 := w.core.RegisterNode(txn, api.RegisterNodeRequest{ID: "p1", Role: api.Primary, Mark: "m", Attempt: "a"})
		p, e3 := w.core.RegisterProducer(txn, api.RegisterProducerRequest{ID: "g1", Attempt: "a"})
		w.node, w.producer = n.Epoch, p.Epoch
		return errors.Join(e1, e2, e3)
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// schema makes a table's schema, or grows it.
func (w *groupWorld) schema(t testing.TB, name string, columns []api.Column) api.Schema {
	t.Helper()
	err := w.store.Update(context.Background(), func(txn kv.Txn) error {
		a, err := w.core.GrowSchema(txn, api.SchemaRequest{Table: name, Columns: columns})
		if err == nil {
			w.schemas[name], err = api.NewSchema(a.Columns)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.schemas[name]
}

// groups are groups as gateways and others make them.
func (w *groupWorld) groups(t testing.TB) [][]byte {
	t.Helper()
	own := api.ProducerSeq{Producer: "g1", Epoch: w.producer, Sequence: 7, Settled: 3}
	every := "m,host=a,dc=é v=1i,u=2u,f=1.5,b=t,s=\"x\" 1\nm,host=b f=-0,s=\"\" 2\nm v=-9i,b=f 3\nm s=\"q\\\"\r\n,é\x00\" 4\n"
	var large strings.Builder
	for i := range 300 {
		fmt.Fprintf(&large, "large,host=h%d,rack=r%d v=%di,f=%d.25,s=\"text %d\" %d\n", i%40, i%7, i, i, i, i)
	}
	frames := [][]byte{
		w.group(t, "one v=1i 1\n", own, api.WriteMeta{Rows: 1}),
		w.group(t, every, own, api.WriteMeta{Rows: 1}, api.WriteMeta{Rows: 3}),
		w.group(t, "keys v=1i 1\nkeys v=2i 2\nkeys,t=x s=\"\" 3\n", api.ProducerSeq{},
			api.WriteMeta{Rows: 1, Key: "a key"}, api.WriteMeta{Rows: 1, Locked: true, Expected: 1, ID: own},
			api.WriteMeta{Rows: 1, Locked: true, Expected: 9, Key: "k"}),
		w.group(t, large.String(), own, api.WriteMeta{Rows: 300}),
	}
	for _, o := range [][]ipc.Option{nil, {ipc.WithZstd()}, {ipc.WithLZ4()}} {
		frames = append(frames, w.foreign(t, o...))
	}
	return frames
}

func (w *groupWorld) group(t testing.TB, lines string, id api.ProducerSeq, writes ...api.WriteMeta) []byte {
	t.Helper()
	parsed, refusal := lineproto.Parse([]byte(lines), lineproto.Options{})
	if refusal != nil || len(parsed) != 1 || parsed[0].Err != nil {
		t.Fatalf("%v %+v", refusal, parsed)
	}
	defer parsed.Release()
	batch := parsed[0].Batch
	missing, refusal := batch.Missing(api.Schema{})
	if refusal != nil {
		t.Fatal(refusal)
	}
	s := w.schema(t, parsed[0].Table, missing)
	h := api.GroupHeader{Table: parsed[0].Table, Fingerprint: s.Fingerprint(s.Len()), ID: id, Writes: writes}
	frame, mark := segment.BeginGroup(nil, &h)
	frame, err := columnar.Encode(frame, s, []*columnar.Batch{batch})
	if err != nil {
		t.Fatal(err)
	}
	return segment.FinishGroup(frame, mark)
}

// foreign is a group that another implementation of Arrow could have written.
func (w *groupWorld) foreign(t testing.TB, o ...ipc.Option) []byte {
	t.Helper()
	s := w.schema(t, "foreign", []api.Column{
		{Name: "tag", Type: api.Tag}, {Name: "i", Type: api.Int64}, {Name: "s", Type: api.String},
	})
	fields := arrow.NewSchema([]arrow.Field{
		{Name: "timestamp", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: "tag", Nullable: true, Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32,
			ValueType: arrow.BinaryTypes.String}},
		{Name: "i", Nullable: true, Type: arrow.PrimitiveTypes.Int64},
		{Name: "s", Nullable: true, Type: arrow.BinaryTypes.String},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, fields)
	defer b.Release()
	for i := range 20 {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(strings.Repeat("t", i%3)); err != nil {
			t.Fatal(err)
		}
		b.Field(2).(*array.Int64Builder).AppendValues([]int64{int64(-i)}, []bool{i%4 > 0})
		b.Field(3).(*array.StringBuilder).Append(strings.Repeat("ü", i))
	}
	var out bytes.Buffer
	iw := ipc.NewWriter(&out, append(o, ipc.WithSchema(fields))...)
	if err := errors.Join(iw.Write(b.NewRecordBatch()), iw.Close()); err != nil {
		t.Fatal(err)
	}
	h := api.GroupHeader{
		Table: "foreign", Fingerprint: s.Fingerprint(s.Len()), Writes: []api.WriteMeta{{Rows: 20, Key: "f"}},
	}
	return segment.AppendGroup(nil, &h, out.Bytes())
}

// Bounds of the memory that one small group may take: to be checked, and to be read in every format as well.
const (
	checkBytesMax = 3 * api.UnpackedBytesMax
	readBytesMax  = 16 * api.UnpackedBytesMax
)

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// try sends a group the whole way, and says whether it was admitted.
func (w *groupWorld) try(t testing.TB, frame []byte) bool {
	t.Helper()
	before := allocated()
	g, schema, refusal := w.admit(frame)
	if took := allocated() - before; took > checkBytesMax {
		t.Fatalf("checking a group of %d bytes takes %d MB", len(frame), took>>20)
	}
	if refusal != nil {
		if refusal.Name != api.Invalid || len(refusal.Message) > api.MessageBytesMax+20 {
			t.Fatalf("told %.2000v", refusal)
		}
		return false
	}
	record := w.commit(t, &g)
	frame = stored(t, frame, &record)
	applied(t, &record)
	readEverywhere(t, frame, schema, &record)
	if took := allocated() - before; took > readBytesMax {
		t.Fatalf("reading a group of %d bytes takes %d MB", len(frame), took>>20)
	}
	return true
}

// admit is what a primary decides by.
func (w *groupWorld) admit(frame []byte) (segment.Group, api.Schema, *api.Error) {
	g, refusal := primary.CheckFrame(frame)
	if refusal != nil {
		return g, api.Schema{}, refusal
	}
	schema, known := w.schemas[g.Header.Table].Prefix(g.Header.Fingerprint)
	if !known {
		return g, schema, api.Errorf(api.Invalid, "no such schema")
	}
	return g, schema, primary.CheckRows(&g, schema)
}

var errUndone = errors.New("undone, so that every group meets the same store")

// commit has the sequencer decide the group, and returns its record: one that accepts all where none was.
func (w *groupWorld) commit(t testing.TB, g *segment.Group) (r api.LogRecord) {
	t.Helper()
	shard := api.Shard(g.Header.Table, groupShards)
	r = api.LogRecord{Index: 1, Table: g.Header.Table, First: 1,
		Segment: api.SegmentID{Node: "p1", Epoch: w.node, Sequence: 1},
		Length:  g.Length, CRC: g.CRC, Writes: uint32(len(g.Header.Writes)),
		Rows: uint64(g.Header.Rows()), State: api.Confirmed}
	data := api.AppendCommitRequest(nil, &api.CommitRequest{Node: "p1", Epoch: w.node, Groups: []api.CommitGroup{
		{Segment: 1, Length: g.Length, CRC: g.CRC, State: api.Confirmed, Header: g.HeaderBytes}}})
	err := w.store.Update(context.Background(), func(txn kv.Txn) error {
		request, err := w.core.ParseRequest(data, shard)
		if err != nil {
			return err
		}
		out, err := w.core.Commit(txn, shard, []*sequencer.Request{request})
		if err != nil || out.Results[0].Err != nil {
			return errors.Join(err, out.Results[0].Err)
		}
		a := out.Results[0].Answers[0]
		if a.Err != nil && a.Err.Name != api.Overloaded || a.Err == nil && len(a.Writes) != len(g.Header.Writes) {
			return fmt.Errorf("answer %+v", a)
		}
		log, err := w.core.ReadLog(txn, nil, shard, api.LogRequest{From: 1})
		if err != nil {
			return err
		}
		if records, err := api.ParseLogAnswer(log); err != nil || len(records.Records) > 1 {
			return fmt.Errorf("log %+v: %w", records, err)
		} else if len(records.Records) == 1 {
			r = records.Records[0]
		}
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		t.Fatalf("a group that a primary admits ends it: %v", err)
	}
	return r
}

// stored puts the group into a segment and reads it back as nodes do.
func stored(t testing.TB, frame []byte, r *api.LogRecord) []byte {
	t.Helper()
	var file bytes.Buffer
	sw, err := segment.NewWriter(&file, r.Segment)
	if err != nil {
		t.Fatal(err)
	}
	if r.Offset, err = sw.Append(frame); err == nil {
		_, err = sw.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	back, err := segment.ReadGroup(bytes.NewReader(file.Bytes()), r.Offset, r.Length, r.CRC)
	if err != nil || !bytes.Equal(back, frame) {
		t.Fatalf("read back from its segment: %v", err)
	}
	return back
}

// applied enters the record on two nodes, whose digests agree.
func applied(t testing.TB, r *api.LogRecord) {
	t.Helper()
	var digests []string
	for range 2 {
		tables, err := table.Open(table.Config{Dir: "node", FS: disk.NewMemory(), Shards: groupShards})
		if err != nil {
			t.Fatal(err)
		}
		done, err := tables.Apply(api.Shard(r.Table, groupShards), []api.LogRecord{*r}, nil)
		if err != nil || done.Records != 1 || tables.AppliedTxID(r.Table) != r.Last() {
			t.Fatalf("applied %+v: %v", done, err)
		}
		digests = append(digests, tables.Tables()[0].Digest)
		if err := tables.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if digests[0] != digests[1] {
		t.Fatalf("digests %q", digests)
	}
}
