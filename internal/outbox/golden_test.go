package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/pagetest"
)

var rewriteGolden = flag.Bool("rewrite-golden", false,
	"write testdata/golden anew: only before a format is released")

// goldenRecords is the file of the worked example in docs/formats/outbox.md: chunks of records.
func goldenRecords() [][]record {
	first := &Write{Ordinal: 4, Time: 1_700_000_000_000_000_000, Table: "cpu", ContentType: "text/plain",
		Payload: []byte("cpu,host=a usage=1i")}
	second := &Write{Ordinal: 5, Time: 1_700_000_000_000_000_001, Table: "cpu", Locked: true, Expected: 41,
		Durability: "wal", ContentType: "text/plain", Payload: []byte("cpu,host=b usage=x")}
	older := &Write{Ordinal: 2, Time: 1_600_000_000_000_000_000, Table: "mem", ContentType: "application/x-ndjson",
		Encoding: "gzip", Payload: []byte{0x1f, 0x8b}}
	bad := Refusal{Name: "invalid", Message: "line 1: usage", Line: 1}
	lost := Refusal{Name: "expired", Message: "away", Unknown: true}
	return [][]record{
		{epochRecord{Epoch: 9, Known: true}},
		{first, second},
		{refusedRecord{"cpu", 5, bad}, numberedRecord{"cpu", 9<<32 + 1, []uint64{4}}},
		{movedRecord{7<<32 + 3, &lost, older}},
		{acceptedRecord{"cpu", 42, []uint64{4}}, reportedRecord{[]uint64{5}}},
	}
}

var goldenHeader = header{Number: 3, Next: 4, Epoch: 7, Producer: "app-1"}

func goldenFile() []byte {
	b := appendHeader(nil, goldenHeader)
	for _, chunk := range goldenRecords() {
		start := len(b)
		for _, r := range chunk {
			b = appendRecord(b, r, int64(len(b)), uint32(len(b)-start))
		}
	}
	return b
}

func golden(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", "outbox.v1"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenFile(t *testing.T) {
	path := filepath.Join("testdata", "golden", "outbox.v1")
	if *rewriteGolden {
		if err := os.WriteFile(path, goldenFile(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data := golden(t)
	if !bytes.Equal(data, goldenFile()) {
		t.Error("the file differs from what earlier versions wrote")
	}
	h, size, err := parseHeader(path, data)
	if err != nil || h != goldenHeader {
		t.Fatalf("header %+v, %v", h, err)
	}
	s := scanner{path: path, number: 3, data: data, offset: int64(size)}
	for _, want := range slices.Concat(goldenRecords()...) {
		if got, _, err := s.next(); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, %v; want %+v", got, err, want)
		}
	}
	if _, _, err := s.next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// TestThePageShowsTheGoldenFile compares the worked example of docs/formats/outbox.md with the file it explains.
func TestThePageShowsTheGoldenFile(t *testing.T) {
	shown := pagetest.Listing(t, "../../docs/formats/outbox.md")
	if want := golden(t); !bytes.Equal(shown, want) {
		t.Errorf("the page shows\n%x\nthe file is\n%x", shown, want)
	}
}

// opened is a folder with one file in it, opened: the records that count, or why there are none.
func opened(t *testing.T, data []byte, more ...[]byte) (c *core, left []byte, err error) {
	t.Helper()
	mem := disk.NewMemory()
	must(t, mem.MkdirAll("box"))
	for i, b := range append([][]byte{data}, more...) {
		must(t, mem.WriteFileSync(fmt.Sprintf("box/%016d.outbox", 3+i), b))
	}
	j, c, err := take(mem, "box", "other", false)
	if err == nil {
		must(t, j.close())
	}
	left, readErr := disk.ReadFile(mem, "box/0000000000000003.outbox")
	must(t, readErr)
	return c, left, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func typed(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.As(err, new(*NewerFormatError))
}

// ends are where the header and each record of the golden file end.
func ends(t *testing.T, data []byte) (list []int) {
	t.Helper()
	_, size, err := parseHeader("golden", data)
	must(t, err)
	s := scanner{data: data, offset: int64(size)}
	for list = append(list, size); ; list = append(list, int(s.offset)) {
		if _, _, err := s.next(); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestI2_AFileCutAtAnyByteIsAnExactPrefix: what a crash has left of the last record is cut off, and no more.
func TestI2_AFileCutAtAnyByteIsAnExactPrefix(t *testing.T) {
	data := golden(t)
	all := ends(t, data)
	for n := range data {
		_, left, err := opened(t, data[:n])
		if n < all[0] {
			if !typed(err) || !bytes.Equal(left, data[:n]) {
				t.Fatalf("cut at %d, in the header: %v", n, err)
			}
			continue
		}
		i, _ := slices.BinarySearch(all, n+1)
		want := all[i-1]
		if err != nil || len(left) != want {
			t.Fatalf("cut at %d: %v, %d bytes are left, want %d", n, err, len(left), want)
		}
	}
}

// TestI2_AnyFlippedBitIsSeen: in the last chunk it passes for what a crash has left. In front of it the bytes had been
// synced: it is damage, which is told with its place, and nothing is changed.
func TestI2_AnyFlippedBitIsSeen(t *testing.T) {
	data := golden(t)
	all := ends(t, data)
	lastChunk := all[len(all)-3]
	for bit := range 8 * len(data) {
		bad := slices.Clone(data)
		bad[bit/8] ^= 1 << (bit % 8)
		_, left, err := opened(t, bad)
		if bit/8 < lastChunk {
			corrupt := new(CorruptError)
			if !errors.As(err, &corrupt) || !bytes.Equal(left, bad) {
				t.Fatalf("bit %d: %v", bit, err)
			}
			if corrupt.Offset > int64(bit/8) || !strings.HasSuffix(corrupt.Path, "3.outbox") {
				t.Fatalf("bit %d: %v", bit, err)
			}
			continue
		}
		if err != nil || !bytes.HasPrefix(data, left) || len(left) < lastChunk || len(left) > bit/8 {
			t.Fatalf("bit %d: %v, %d bytes are left", bit, err, len(left))
		}
		// The same file is not the last one: then it was synced whole.
		next := appendHeader(nil, header{Number: 4, Next: 6, Epoch: 9, Producer: "app-1"})
		if _, left, err = opened(t, bad, next); !errors.Is(err, ErrCorrupt) || !bytes.Equal(left, bad) {
			t.Fatalf("bit %d, with a file behind it: %v", bit, err)
		}
	}
}

// TestCorruption is a table of sentences about what opening says to a damaged folder.
func TestCorruption(t *testing.T) {
	data := golden(t)
	all := ends(t, data)
	next := func(n uint64, producer string) []byte {
		return appendHeader(nil, header{Number: n, Next: 6, Epoch: 9, Producer: producer})
	}
	for _, test := range []struct {
		name  string
		files [][]byte
		want  string // "" if it opens
	}{
		{"as it is", [][]byte{data}, ""},
		{"zeros behind the last record", [][]byte{append(slices.Clone(data), make([]byte, 999)...)}, ""},
		{"an empty file", [][]byte{nil}, "byte 0: no header"},
		{"a file of zeros", [][]byte{make([]byte, 500)}, "byte 0: no header"},
		{"a later version", [][]byte{later(data)}, "format version 2"},
		{"a file under another's name", [][]byte{data, data}, "the header is of file 3"},
		{"a file of another producer", [][]byte{data, next(4, "app-2")}, "producer app-2"},
		{"a file cut short with one behind it", [][]byte{data[:all[3]-1], next(4, "app-1")}, "cut short"},
		{"a record that stands elsewhere too", [][]byte{append(slices.Clone(data), data[all[0]:all[1]]...)}, ""},
		{"a number for a write that is refused", [][]byte{with(data, numberedRecord{"mem", 1, []uint64{2}})}, ""},
		{"an answer to a write that nobody knows", [][]byte{with(data, acceptedRecord{"cpu", 1, []uint64{99}})}, ""},
		{"another number for a write that has one", [][]byte{with(data,
			movedRecord{Sequence: 7, Write: &Write{Ordinal: 8, Table: "t"}}, numberedRecord{"t", 8, []uint64{8}})},
			"has sequence 7 and gets 8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := opened(t, test.files[0], test.files[1:]...)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (!typed(err) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// with has records behind those that are there, each a chunk of its own.
func with(data []byte, records ...record) []byte {
	data = slices.Clone(data)
	for _, r := range records {
		data = appendRecord(data, r, int64(len(data)), 0)
	}
	return data
}

// later is the file as a program with the next format would begin it.
func later(data []byte) []byte {
	data = slices.Clone(data)
	data[8] = 2
	size := binary.LittleEndian.Uint32(data[12:])
	binary.LittleEndian.PutUint32(data[size-4:], crc32.Checksum(data[:size-4], castagnoli))
	return data
}

// FuzzOpen: whatever is in a file, it opens or is told to be damaged; what opens opens again, and is then the same.
func FuzzOpen(f *testing.F) {
	data := goldenFile()
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add(with(data, goldenRecords()[1][0]))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, left, err := opened(t, data)
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		again, same, err := opened(t, left)
		if err != nil || !bytes.Equal(left, same) || !reflect.DeepEqual(c, again) {
			t.Fatalf("opened again: %v", err)
		}
	})
}

// FuzzRecord: a body is read in one way, and written back as it was.
func FuzzRecord(f *testing.F) {
	for _, r := range slices.Concat(goldenRecords()...) {
		f.Add(r.append([]byte{r.kind()}))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseBody(body)
		if err != nil {
			return
		}
		if again := r.append([]byte{r.kind()}); !bytes.Equal(again, body) {
			t.Fatalf("%x is written back as %x", body, again)
		}
	})
}
