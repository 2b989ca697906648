package table

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

var rewriteGolden = flag.Bool("rewrite-golden", false,
	"write testdata/golden anew: only before a format is released")

// goldenLog is the log of the worked example in docs/formats/table.md.
func goldenLog() []api.LogRecord {
	segment := api.SegmentID{Node: "p1", Epoch: 7, Sequence: 3}
	return []api.LogRecord{
		{Index: 1, Table: "cpu", First: 1, Segment: segment, Offset: 32, Length: 900, CRC: 0x01020304,
			Writes: 3, Rows: 30, State: api.Confirmed},
		{Index: 4, Table: "cpu", First: 4, Segment: segment, Offset: 932, Length: 400, CRC: 0xa0b0c0d0,
			Writes: 10, Rows: 20, Mask: []byte{0x05, 0x02}, State: api.Confirmed},
		{Index: 5, Table: "cpu", First: 7, Segment: segment, Offset: 1332, Length: 400, CRC: 0x0badcafe,
			Writes: 1, Rows: 5, State: api.Void, Holders: []string{"p1", "r1"}},
	}
}

func goldenFiles(t *testing.T) (records, check []byte) {
	t.Helper()
	mem := disk.NewMemory()
	s := open(t, mem)
	log := goldenLog()
	other := api.LogRecord{Index: 2, Table: "mem", First: 1, Segment: log[0].Segment, Writes: 1, Rows: 1,
		Length: 1, State: api.Confirmed}
	third := other
	third.Index, third.First = 3, 2
	all := []api.LogRecord{log[0], other, third, log[1], log[2]}
	if _, err := s.Apply(0, all, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	records, err := disk.ReadFile(mem, recordsPath(filepath.Join(tablesDir(root), "cpu")))
	if err != nil {
		t.Fatal(err)
	}
	check, err = disk.ReadFile(mem, checkpointPath(root))
	if err != nil {
		t.Fatal(err)
	}
	return records, check
}

func TestGoldenFiles(t *testing.T) {
	records, check := goldenFiles(t)
	for name, got := range map[string][]byte{"records.v1": records, "checkpoint.v1": check} {
		path := filepath.Join("testdata", "golden", name)
		if *rewriteGolden {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what earlier versions wrote", name)
		}
	}
}

// Cut at every byte, and with every byte changed, a record file gives an exact prefix of its entries, and says why.
func TestEveryCutGivesAPrefix(t *testing.T) {
	whole, _ := goldenFiles(t)
	ends := map[int64]int{}
	for e, offset := range entries(t, whole) {
		ends[offset] = e
	}
	for n := range whole {
		checkPrefix(t, whole[:n], int64(n), ends)
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		checkPrefix(t, flipped, int64(n), ends)
	}
}

func entries(t *testing.T, b []byte) (ends []int64) {
	t.Helper()
	_, size, err := parseFileHeader("golden", b)
	if err != nil {
		t.Fatal(err)
	}
	s := newScanner("golden", bytes.NewReader(b), int64(size), int64(len(b)))
	ends = append(ends, int64(size))
	for {
		_, err := s.next()
		if errors.Is(err, io.EOF) {
			return ends
		}
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.offset)
	}
}

func checkPrefix(t *testing.T, b []byte, damagedAt int64, ends map[int64]int) {
	t.Helper()
	mem := disk.NewMemory()
	folder := filepath.Join(tablesDir(root), "cpu")
	if err := mem.MkdirAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := mem.WriteFileSync(recordsPath(folder), b); err != nil {
		t.Fatal(err)
	}
	tb := &tab{folder: folder}
	_, err := tb.load(mem)
	corrupt, newer := new(CorruptError), new(NewerFormatError)
	if errors.As(err, &corrupt) || errors.As(err, &newer) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, whole := ends[tb.state.size]; !whole || tb.state.size > damagedAt {
		t.Fatalf("damaged at byte %d, but %d bytes were taken", damagedAt, tb.state.size)
	}
}

func TestDigestOfAFullMaskIsThatOfNone(t *testing.T) {
	r := goldenLog()[0]
	want := chain([32]byte{}, &r)
	r.Mask = []byte{0xff}
	if chain([32]byte{}, &r) != want {
		t.Error("a mask that accepts all has another digest than no mask")
	}
	r.Mask = []byte{3}
	if chain([32]byte{}, &r) == want {
		t.Error("a refused write does not change the digest")
	}
	r.Mask, r.State = nil, api.Void
	if chain([32]byte{}, &r) == want {
		t.Error("voiding does not change the digest")
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(appendEntry(nil, &entry{record: goldenLog()[0]}))
	f.Add(appendEntry(appendEntry(nil, &entry{record: goldenLog()[1]}), &entry{record: goldenLog()[2]}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newScanner("fuzz", bytes.NewReader(b), 0, int64(len(b)))
		for {
			e, err := s.next()
			corrupt := new(CorruptError)
			if errors.Is(err, io.EOF) || errors.As(err, &corrupt) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := appendEntry(nil, &e); len(got) > int(e.size) {
				t.Fatalf("entry of %d bytes is written as %d", e.size, len(got))
			}
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(appendCheckpoint(nil, &checkpoint{positions: []uint64{1, 2}, tables: []tableMark{{name: "cpu", index: 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCheckpoint("fuzz", b)
		if err == nil && !bytes.Equal(appendCheckpoint(nil, &c), b) {
			t.Fatal("a checkpoint does not survive being read and written")
		}
	})
}

func BenchmarkApply(b *testing.B) {
	const pieces = 1000
	s, err := Open(Config{Dir: b.TempDir(), FS: disk.OS, Shards: 1})
	if err != nil {
		b.Fatal(err)
	}
	heads := map[string]uint64{}
	template := commitLog(1, 20, pieces)
	records := make([]api.LogRecord, pieces)
	next := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		for i := range template {
			r := template[i]
			r.Index, r.First = next, heads[r.Table]+1
			heads[r.Table] = r.Last()
			records[i] = r
			next++
		}
		if _, err := s.Apply(0, records, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*pieces/b.Elapsed().Seconds(), "records/s")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
