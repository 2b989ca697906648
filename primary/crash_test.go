package primary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/faulty"
	"github.com/seed-551dd829/braid/internal/segment"
)

// workload writes three groups one after the other, and two at once; it returns what was acknowledged.
func workload(t *testing.T, s *Service) (acknowledged map[string][]byte) {
	acknowledged = make(map[string][]byte)
	keep := func(frame []byte, r reply) {
		if r.err == nil {
			acknowledged[fmt.Sprint("cpu", r.answer.Writes[0].TxID)] = frame
		} else if r.err.Name != api.Unavailable {
			t.Fatalf("answer %v", r.err)
		}
	}
	for i := range uint64(3) {
		frame := frameOf(t, "cpu", i+1, 5)
		keep(frame, send(s, frame).wait(t))
	}
	a, b := frameOf(t, "cpu", 4, 50), frameOf(t, "cpu", 5, 50)
	first, second := send(s, a), send(s, b)
	keep(a, first.wait(t))
	keep(b, second.wait(t))
	return acknowledged
}

// TestI2_CrashAfterEveryDiskOperation takes the power away after each operation of a run, in two ways, and settles
// what is left: whatever was acknowledged is in the object store, byte for byte, and so is every record.
func TestI2_CrashAfterEveryDiskOperation(t *testing.T) {
	plain := newBed(t)
	before := plain.disk.Ops()
	s := plain.service(t)
	stop := run(t, s)
	if n := len(workload(t, s)); n != 5 {
		t.Fatalf("%d of 5 acknowledged without a crash", n)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	operations := plain.disk.Ops() - before
	if operations < 20 {
		t.Fatalf("only %d operations", operations)
	}
	for n := range operations {
		crashAfter(t, plain, n, nil)
		crashAfter(t, plain, n, []disk.CrashOption{disk.Torn(uint64(n))})
	}
}

func crashAfter(t *testing.T, plain *bed, n int, how []disk.CrashOption) {
	t.Helper()
	b := &bed{nc: plain.nc, disk: disk.NewMemory(), seq: newFakeSequencer(), shards: plain.shards, cfg: plain.cfg}
	b.cfg.ObjectPatience, b.cfg.CommitPatience, b.cfg.DrainFor = 5*time.Millisecond, time.Second, time.Millisecond
	b.openObjects(t)
	b.disk.StopAfter(n)
	s := b.service(t)
	stop := run(t, s)
	acknowledged := workload(t, s)
	stop() // with an error, or with groups that were told 503: the disk is dead
	b.disk.Crash(how...)
	b.openObjects(t)
	settle := func() Report {
		r, err := Settle(context.Background(), SettleConfig{ID: "p1", Epoch: 4, SegmentsDir: b.cfg.SegmentsDir},
			SettleDeps{FS: b.disk, Objects: b.objects, Logger: quiet})
		if err != nil {
			t.Fatalf("crash after %d: %v", n, err)
		}
		return r
	}
	first := settle()
	if again := settle(); again.Unsealed+again.Restored != 0 || again.Kept != first.Kept ||
		again.Stored != first.Stored+first.Restored {
		t.Fatalf("crash after %d: settled %+v, then %+v", n, first, again)
	}
	for _, r := range b.seq.all() {
		frame := b.object(t, r)
		if want, ok := acknowledged[fmt.Sprint(r.table, r.txid)]; ok && !bytes.Equal(frame, want) {
			t.Fatalf("crash after %d: TxID %d has other bytes", n, r.txid)
		}
	}
	if len(acknowledged) > len(b.seq.all()) {
		t.Fatalf("crash after %d: %d acknowledged, %d records", n, len(acknowledged), len(b.seq.all()))
	}
}

// TestI2_OrderOfDiskOperations is the golden list of what happens to the disk, to the sequencer and to the sender for
// one group after the other. `-rewrite` makes the diff.
func TestI2_OrderOfDiskOperations(t *testing.T) {
	b := newBed(t)
	b.shards = 1
	var mu sync.Mutex
	var log []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, fmt.Sprintf(format, args...))
	}
	b.disk.Hook(func(op disk.Op) error {
		if op.Kind != disk.OpStat {
			op.Bytes = 0
			note("%s", op)
		}
		return nil
	})
	b.seq.seen = func(shard int, r *api.CommitRequest) {
		note("commit shard %d: %d group of segment %d", shard, len(r.Groups), r.Groups[0].Segment)
	}
	s := b.service(t)
	stop := run(t, s)
	for i := range uint64(2) {
		r := send(s, frameOf(t, "cpu", i+1, 5)).wait(t)
		if r.err != nil {
			t.Fatal(r.err)
		}
		note("answer TxID %d", r.answer.Writes[0].TxID)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	datadriven.RunTest(t, "testdata/order_of_disk_operations", func(*testing.T, *datadriven.TestData) string {
		return strings.Join(log, "\n") + "\n"
	})
}

func TestSettle(t *testing.T) {
	type file struct {
		path   string
		object string // what the store has under its name: "" nothing, "same", or other bytes
		torn   bool
	}
	for _, c := range []struct {
		name   string
		files  []file
		away   bool // the object store does not answer
		report Report
		left   string
	}{
		{"nothing", nil, false, Report{}, ""},
		{"unsealed: deleted", []file{{"p1/1/1.seg.open", "", true}}, false, Report{Unsealed: 1}, "p1"},
		{"sealed, its name lost: named and put", []file{{"p1/1/1.seg.open", "", false}}, false, Report{Restored: 1},
			"p1 p1/1 p1/1/1.seg"},
		{"stored: kept", []file{{"p1/1/1.seg", "same", false}}, false, Report{Stored: 1}, "p1 p1/1 p1/1/1.seg"},
		{"another length: kept", []file{{"p1/1/1.seg", "bytes", false}}, false, Report{Kept: 1}, "p1 p1/1 p1/1/1.seg"},
		{"not stored: put and kept", []file{{"p1/1/1.seg", "", false}}, false, Report{Restored: 1}, "p1 p1/1 p1/1/1.seg"},
		{"not stored, and torn: kept, not put", []file{{"p1/1/1.seg", "", true}}, false, Report{Kept: 1},
			"p1 p1/1 p1/1/1.seg"},
		{"the object store is away: kept", []file{{"p1/1/1.seg", "", false}}, true, Report{Kept: 1}, "p1 p1/1 p1/1/1.seg"},
		{"this epoch and later ones: left alone", []file{{"p1/4/1.seg.open", "", true}, {"p1/5/1.seg", "", false}}, false,
			Report{}, "p1 p1/4 p1/4/1.seg.open p1/5 p1/5/1.seg"},
		{"others' files: left alone", []file{{"p2/1/1.seg", "", false}, {"p1/1/notes.txt", "", false},
			{"p1/x/1.seg", "", false}, {"p1/1/2.seg.tmp", "", false}}, false,
			Report{}, "p1 p1/1 p1/1/2.seg.tmp p1/1/notes.txt p1/x p1/x/1.seg p2 p2/1 p2/1/1.seg"},
		{"several", []file{{"p1/1/1.seg", "same", false}, {"p1/1/2.seg", "", false}, {"p1/1/3.seg.open", "", true},
			{"p1/2/1.seg.open", "", true}}, false, Report{Unsealed: 2, Stored: 1, Restored: 1},
			"p1 p1/1 p1/1/1.seg p1/1/2.seg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bed{disk: disk.NewMemory()}
			b.openObjects(t)
			for _, f := range c.files {
				data := sealedSegment(t, f.path)
				if f.torn {
					data = data[:len(data)-3]
				}
				place(t, b, f.path, data, f.object)
			}
			objects := b.objects
			if c.away {
				objects = faulty.New(b.objects, func(faulty.Call) faulty.Fault { return faulty.Fault{Kind: faulty.Before} },
					faulty.Options{})
			}
			report, err := Settle(context.Background(), SettleConfig{ID: "p1", Epoch: 4, SegmentsDir: "segments"},
				SettleDeps{FS: b.disk, Objects: objects, Logger: quiet})
			if err != nil || report != c.report {
				t.Errorf("report %+v, want %+v (error %v)", report, c.report, err)
			}
			if left := strings.Join(list(t, b.disk, "segments"), " "); left != c.left {
				t.Errorf("left: %s\nwant: %s", left, c.left)
			}
		})
	}
}

// TestI9_SettlePutsBackWhatTheStoreHasLost: the object store loses every object while the primary is down. Its files
// may be the last copies: none is deleted, and afterwards every record's bytes are in the object store again.
func TestI9_SettlePutsBackWhatTheStoreHasLost(t *testing.T) {
	b := newBed(t)
	s := b.service(t)
	stop := run(t, s)
	if n := len(workload(t, s)); n != 5 {
		t.Fatalf("%d of 5 acknowledged", n)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for info, err := range b.objects.List(t.Context(), "wal/") {
		if err == nil {
			err = b.disk.Remove(filepath.Join("objects", info.Key))
		}
		if err != nil {
			t.Fatal(err)
		}
		lost++
	}
	report, err := Settle(t.Context(), SettleConfig{ID: "p1", Epoch: 4, SegmentsDir: b.cfg.SegmentsDir},
		SettleDeps{FS: b.disk, Objects: b.objects, Logger: quiet})
	if err != nil || lost == 0 || report != (Report{Restored: lost}) {
		t.Fatalf("%d objects lost, report %+v, %v", lost, report, err)
	}
	for _, r := range b.seq.all() {
		b.object(t, r)
	}
}

// sealedSegment is a sound segment of the id that the path says, if it says one.
func sealedSegment(t *testing.T, path string) []byte {
	t.Helper()
	id, err := api.ParseSegmentKey("wal/" + strings.TrimSuffix(path, openSuffix))
	if err != nil {
		return []byte("bytes")
	}
	var data bytes.Buffer
	w, err := segment.NewWriter(&data, id)
	if err == nil {
		_, err = w.Append(frameOf(t, "cpu", 1, 5))
	}
	if err == nil {
		_, err = w.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// place makes a segment file, and an object of its name.
func place(t *testing.T, b *bed, path string, data []byte, object string) {
	t.Helper()
	full := filepath.Join("segments", path)
	if err := b.disk.MkdirAll(filepath.Dir(full)); err != nil {
		t.Fatal(err)
	}
	if err := b.disk.WriteFileSync(full, data); err != nil {
		t.Fatal(err)
	}
	if object == "same" {
		object = string(data)
	}
	if object != "" {
		if err := b.objects.Put(context.Background(), "wal/"+path, objstore.Bytes([]byte(object))); err != nil {
			t.Fatal(err)
		}
	}
}

// list names everything below root, sorted.
func list(t *testing.T, f disk.FS, root string) (names []string) {
	t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := f.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			if names = append(names, rel); e.IsDir() {
				walk(path)
			}
		}
	}
	walk(root)
	return names
}
