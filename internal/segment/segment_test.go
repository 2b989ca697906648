package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

var testID = api.SegmentID{Node: "p1", Epoch: 7, Sequence: 42}

func testSchema(t testing.TB) api.Schema {
	t.Helper()
	s, err := api.NewSchema([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp},
		{Name: "host", Type: api.Tag}, {Name: "usage", Type: api.Float64}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testHeaders are groups with one of everything that a group header can say.
func testHeaders(t testing.TB) []api.GroupHeader {
	s := testSchema(t)
	return []api.GroupHeader{
		{Table: "cpu", Fingerprint: s.Fingerprint(2),
			ID:     api.ProducerSeq{Producer: "gw-1", Epoch: 9, Sequence: 3, Settled: 1},
			Writes: []api.WriteMeta{{Rows: 1}, {Rows: 1000, Locked: true, Expected: 300}, {Rows: 2, Key: "order 17"}}},
		{Table: "plant.räume", Fingerprint: s.Fingerprint(3), Durability: api.DurabilityWAL,
			Writes: []api.WriteMeta{{Rows: 5, ID: api.ProducerSeq{Producer: "SDK_a", Epoch: 1, Sequence: 1}}}},
		{Table: "cpu", Fingerprint: s.Fingerprint(3), Durability: api.DurabilityWAL,
			ID: api.ProducerSeq{Producer: "gw-2", Epoch: 1 << 40, Sequence: 200, Settled: 199},
			Writes: []api.WriteMeta{{Rows: 7, Locked: true, Key: "k",
				Expected: 0}}},
	}
}

// build writes a segment of the groups, the i-th with an Arrow stream of arrow(i).
func build(t testing.TB, id api.SegmentID, headers []api.GroupHeader, arrow func(i int) []byte) ([]byte, Summary) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range headers {
		if _, err := w.Append(AppendGroup(nil, &headers[i], arrow(i))); err != nil {
			t.Fatal(err)
		}
	}
	size := w.Size()
	s, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if s.Length != int64(out.Len()) || s.Length != size {
		t.Fatalf("summary has %d bytes, Size said %d, the file has %d", s.Length, size, out.Len())
	}
	return out.Bytes(), s
}

func numbered(i int) []byte { return fmt.Appendf(nil, "arrow stream %d", i) }

func TestI2_WhatWasAppendedIsReadBack(t *testing.T) {
	headers := testHeaders(t)
	file, sum := build(t, testID, headers, numbered)
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if r.ID() != testID || len(r.Groups()) != len(headers) {
		t.Fatalf("segment %s with %d groups", r.ID(), len(r.Groups()))
	}
	for i := range headers {
		g, err := r.Group(i)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(g.Arrow, numbered(i)) {
			t.Errorf("group %d: arrow %q", i, g.Arrow)
		}
		if want := api.AppendGroupHeader(nil, &headers[i]); !bytes.Equal(g.HeaderBytes, want) {
			t.Errorf("group %d: header %x, want %x", i, g.HeaderBytes, want)
		}
		if fmt.Sprint(g.Header) != fmt.Sprint(headers[i]) {
			t.Errorf("group %d: header %v, want %v", i, g.Header, headers[i])
		}
		if e := r.Groups()[i]; e.Length != g.Length || e.CRC != g.CRC {
			t.Errorf("group %d: %+v in the index, %d %08x in the frame", i, e, g.Length, g.CRC)
		}
	}
	if got, err := r.Verify(); err != nil || got != sum {
		t.Errorf("Verify: %+v, %v; Finish said %+v", got, err, sum)
	}
}

func TestSummaryCRCIsThatOfTheFile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	headers := testHeaders(t)
	for range 50 {
		file, sum := build(t, testID, headers, func(int) []byte {
			b := make([]byte, random.IntN(200<<10))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return b
		})
		if want := crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli)); sum.CRC != want {
			t.Fatalf("summary's CRC %08x, the file's is %08x", sum.CRC, want)
		}
	}
}

func TestBeginGroupLeavesWhatIsInFrontAlone(t *testing.T) {
	h := testHeaders(t)[0]
	buf, mark := BeginGroup([]byte("front"), &h)
	buf = FinishGroup(append(buf, "arrow"...), mark)
	if !bytes.HasPrefix(buf, []byte("front")) || mark != 5 {
		t.Fatalf("mark %d in %q", mark, buf)
	}
	if want := AppendGroup(nil, &h, []byte("arrow")); !bytes.Equal(buf[mark:], want) {
		t.Fatalf("%x, want %x", buf[mark:], want)
	}
	if g, err := ParseGroup(buf[mark:]); err != nil || string(g.Arrow) != "arrow" {
		t.Fatalf("%+v, %v", g, err)
	}
}

type failingWriter struct{ left int }

var errDisk = errors.New("disk is full")

func (w *failingWriter) Write(b []byte) (int, error) {
	n := min(w.left, len(b))
	w.left -= n
	if n < len(b) {
		return n, errDisk
	}
	return n, nil
}

func TestWriterErrorsStick(t *testing.T) {
	h := testHeaders(t)[0]
	frame := AppendGroup(nil, &h, make([]byte, 100<<10))
	w, err := NewWriter(&failingWriter{left: 300 << 10}, testID)
	for err == nil {
		_, err = w.Append(frame)
	}
	if !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if _, err := w.Append(frame); !errors.Is(err, errDisk) {
		t.Errorf("append after the error: %v", err)
	}
	if _, err := w.Finish(); !errors.Is(err, errDisk) {
		t.Errorf("finish after the error: %v", err)
	}
}

func TestWriterRefusesWhatIsNoFrame(t *testing.T) {
	w, err := NewWriter(io.Discard, testID)
	if err != nil {
		t.Fatal(err)
	}
	h := testHeaders(t)[0]
	frame := AppendGroup(nil, &h, nil)
	for name, bad := range map[string][]byte{
		"empty": nil, "cut": frame[:len(frame)-1], "long": append(frame[:len(frame):len(frame)], 0),
	} {
		if _, err := w.Append(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Append(frame); err != nil {
		t.Errorf("a good frame after bad ones: %v", err)
	}
	if _, err := w.Finish(); err != nil {
		t.Error(err)
	}
	if _, err := w.Append(frame); !errors.Is(err, errFinished) {
		t.Errorf("append after the end: %v", err)
	}
}
