package segment

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// -rewrite makes golden files that are missing. It never touches one that is there: a golden file
// of a released version is what lies in people's object stores, and every later version must read
// it.
var rewrite = flag.Bool("rewrite", false, "make missing golden files, rewrite expected dumps")

type golden struct {
	name    string
	id      api.SegmentID
	headers []api.GroupHeader
	arrow   func(i int) []byte
}

// goldens are format 1. Their Arrow streams are placeholders: this package does not look into them.
func goldens(t testing.TB) []golden {
	s := testSchema(t)
	worked := []api.GroupHeader{{Table: "cpu", Fingerprint: s.Fingerprint(3),
		ID:     api.ProducerSeq{Producer: "gw1", Epoch: 5, Sequence: 2, Settled: 1},
		Writes: []api.WriteMeta{{Rows: 3}, {Rows: 300, Locked: true, Expected: 7, Key: "a1"}}}}
	longest := api.SegmentID{Node: strings.Repeat("n", 63), Epoch: 1<<64 - 1, Sequence: 1<<64 - 1}
	return []golden{
		{"v1-worked", api.SegmentID{Node: "p1", Epoch: 6, Sequence: 1}, worked, func(int) []byte { return []byte("ARROW") }},
		{"v1-groups", testID, testHeaders(t), numbered},
		{"v1-empty", longest, nil, numbered},
	}
}

func (g golden) path() string { return filepath.Join("testdata", g.name+".seg") }

// read returns the golden file's bytes.
func (g golden) read(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(g.path())
	if errors.Is(err, fs.ErrNotExist) && *rewrite {
		data, _ = build(t, g.id, g.headers, g.arrow)
		err = os.WriteFile(g.path(), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFormat1IsWrittenAsReleased: what this program writes is, byte for byte, what the first
// release wrote.
func TestFormat1IsWrittenAsReleased(t *testing.T) {
	for _, g := range goldens(t) {
		want := g.read(t)
		if got, _ := build(t, g.id, g.headers, g.arrow); !bytes.Equal(got, want) {
			t.Errorf("%s: the bytes have changed; that is a new format version, not a new golden file", g.name)
		}
	}
}

func TestFormat1IsRead(t *testing.T) {
	for _, g := range goldens(t) {
		data := g.read(t)
		r, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		if r.ID() != g.id || len(r.Groups()) != len(g.headers) {
			t.Errorf("%s: %s with %d groups", g.name, r.ID(), len(r.Groups()))
		}
		if s, err := r.Verify(); err != nil || s != (Summary{int64(len(data)), CRC(data), len(g.headers)}) {
			t.Errorf("%s: %+v, %v", g.name, s, err)
		}
	}
}

func TestDump(t *testing.T) {
	for _, g := range goldens(t) {
		data := g.read(t)
		for _, damage := range []struct {
			name  string
			size  int
			error bool
		}{{"", len(data), false}, {"-torn", len(data) - 40, true}} {
			if damage.size < headerSize {
				continue
			}
			var out bytes.Buffer
			err := Dump(&out, bytes.NewReader(data), int64(damage.size))
			if damage.error != errors.Is(err, ErrCorrupt) || !damage.error && err != nil {
				t.Errorf("%s%s: %v", g.name, damage.name, err)
			}
			compareText(t, filepath.Join("testdata", g.name+damage.name+".dump"), out.Bytes())
		}
	}
	if err := Dump(&bytes.Buffer{}, strings.NewReader("not a segment"), 13); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// compareText compares with an expected output, which, unlike the format, may change.
func compareText(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}
