package replicator

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/segment"
)

// TestHeldSegmentIsNotFetched: a copy that this node holds is taken for its own file, and stays a copy; one that is
// damaged is not.
func TestHeldSegmentIsNotFetched(t *testing.T) {
	id := api.SegmentID{Node: "p1", Epoch: 3, Sequence: 1}
	var file bytes.Buffer
	w, err := segment.NewWriter(&file, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	m := disk.NewMemory()
	s := &segments{fsys: m, dir: "/s"}
	if err := errors.Join(s.prepare(), m.MkdirAll(filepath.Dir(segment.HeldPath(s.dir, id)))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fetchHeld(&flight{id: id}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("nothing is held: %v", err)
	}
	damaged := bytes.Clone(file.Bytes())
	damaged[20] ^= 1
	if err := m.WriteFileSync(segment.HeldPath(s.dir, id), damaged); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fetchHeld(&flight{id: id}); !errors.As(err, new(*segment.CorruptError)) {
		t.Fatalf("a damaged copy: %v", err)
	}
	if err := m.WriteFileSync(segment.HeldPath(s.dir, id), file.Bytes()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also in place of a file that is there
		if _, err := s.fetchHeld(&flight{id: id}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{segment.Path(s.dir, id), segment.HeldPath(s.dir, id)} {
			if got, err := disk.ReadFile(m, path); err != nil || !bytes.Equal(got, file.Bytes()) {
				t.Errorf("%s: %d bytes, %v", path, len(got), err)
			}
		}
	}
	if left, err := m.ReadDir(s.fetchDir()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
