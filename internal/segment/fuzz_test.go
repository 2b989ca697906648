package segment

import (
	"bytes"
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

func seeds(f *testing.F) {
	for _, g := range goldens(f) {
		data := g.read(f)
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
}

// FuzzOpen: bytes are refused with a typed error, or they are a segment that Recover and a Writer
// agree with.
func FuzzOpen(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := open(data)
		if err == nil {
			_, err = r.Verify()
		}
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, r.ID())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Groups() {
			if _, err := w.Append(data[e.Offset:e.end()]); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := w.Finish(); err != nil || s.CRC != CRC(data) || !bytes.Equal(again.Bytes(), data) {
			t.Fatalf("written again it differs: %v", err)
		}
		if _, entries, _, err := recovered(data); err != nil || !slices.Equal(entries, r.Groups()) {
			t.Fatalf("Recover: %v %v", entries, err)
		}
	})
}

// FuzzRecover: what is recovered is sound and contiguous, and cutting the file there recovers the
// same.
func FuzzRecover(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		id, entries, valid, err := recovered(data)
		if err != nil && !typed(err) {
			t.Fatal(err)
		}
		if valid == 0 {
			return
		}
		next := uint64(headerSize)
		for _, e := range entries {
			if e.Offset != next {
				t.Fatalf("a gap before %d", e.Offset)
			}
			next = e.end()
			if _, err := ParseGroup(data[e.Offset:next]); err != nil {
				t.Fatal(err)
			}
		}
		again, same, end, err := recovered(data[:valid])
		if err != nil || again != id || end != valid || uint64(valid) != next || !slices.Equal(same, entries) {
			t.Fatalf("cut at %d: %s %v %d %v", valid, again, same, end, err)
		}
	})
}

// FuzzParseGroup: bytes are refused with a typed error, or their header survives being encoded
// again.
func FuzzParseGroup(f *testing.F) {
	for i, h := range testHeaders(f) {
		f.Add(AppendGroup(nil, &h, numbered(i)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		check := func(frame []byte) {
			g, err := ParseGroup(frame)
			if err != nil {
				if !typed(err) {
					t.Fatal(err)
				}
				return
			}
			if int(g.Length) != len(frame) || g.CRC != FrameCRC(frame) {
				t.Fatalf("%d %08x", g.Length, g.CRC)
			}
			header := api.AppendGroupHeader(nil, &g.Header)
			again, err := api.ParseGroupHeader(header)
			if err != nil || !bytes.Equal(api.AppendGroupHeader(nil, &again), header) {
				t.Fatalf("%+v does not survive: %v", g.Header, err)
			}
		}
		check(frame)
		if len(frame) >= frameMin { // with the checks that random bytes never pass set right
			check(FinishGroup(slices.Clone(frame), 0))
		}
	})
}
