package segment

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkAppend is what a primary does with a group of 10,000 rows of 45 bytes, its check
// included.
func BenchmarkAppend(b *testing.B) {
	h := testHeaders(b)[0]
	frame := AppendGroup(nil, &h, make([]byte, 450_000))
	w, err := NewWriter(io.Discard, testID)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseGroup(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Append(frame); err != nil {
				b.Fatal(err)
			}
			w.entries, w.offset = w.entries[:0], headerSize
		}
	})
}

// BenchmarkSmall is a segment of 1,000 groups of one row each.
func BenchmarkSmall(b *testing.B) {
	h := testHeaders(b)[0]
	frame := AppendGroup(nil, &h, make([]byte, 600))
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		w, err := NewWriter(&out, testID)
		if err != nil {
			b.Fatal(err)
		}
		for range 1000 {
			if _, err := w.Append(frame); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}
