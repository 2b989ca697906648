package segment

import (
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/disk"
)

// TestI2_ATornFileGivesItsWholeGroups takes the power away while a segment is being written: what
// is recovered is what was appended, up to some group, and everything that was synced.
func TestI2_ATornFileGivesItsWholeGroups(t *testing.T) {
	h := testHeaders(t)[0]
	reached := map[int]bool{}
	for seed := range uint64(200) {
		m := disk.NewMemory()
		f, err := m.Create("1.seg.open")
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(f, testID)
		if err != nil {
			t.Fatal(err)
		}
		const before, after = 4, 6 // of the sync; frames are larger than the writer's buffer
		var written []Entry
		for i := range before + after {
			frame := AppendGroup(nil, &h, make([]byte, writeBuffer+100*i))
			at, err := w.Append(frame)
			if err != nil {
				t.Fatal(err)
			}
			written = append(written, Entry{at, uint32(len(frame)), FrameCRC(frame)})
			if i == before-1 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		m.Crash(disk.Torn(seed))
		left, err := m.Open("1.seg.open")
		if err != nil {
			t.Fatal(err)
		}
		size, err := left.Size()
		if err != nil {
			t.Fatal(err)
		}
		id, entries, valid, err := Recover(left, size)
		if err != nil || id != testID {
			t.Fatalf("seed %d: %s, %v", seed, id, err)
		}
		// The last frame before the sync may still have had its end in the writer's buffer.
		if n := len(entries); n < before-1 || !slices.Equal(entries, written[:n]) || valid > size {
			t.Fatalf("seed %d: %d groups %v in %d bytes", seed, n, entries, size)
		}
		reached[len(entries)] = true
	}
	if len(reached) < 6 {
		t.Errorf("the seeds reach %v groups only", reached)
	}
}
