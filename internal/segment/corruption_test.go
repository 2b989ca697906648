package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

func open(data []byte) (*Reader, error) { return Open(bytes.NewReader(data), int64(len(data))) }

func recovered(data []byte) (api.SegmentID, []Entry, int64, error) {
	return Recover(bytes.NewReader(data), int64(len(data)))
}

func typed(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewerFormat) }

// whole returns the groups of data that end within its first n bytes, and where the last of them
// ends.
func whole(t *testing.T, data []byte, n int) (entries []Entry, end int64) {
	t.Helper()
	r, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	end = headerSize
	for _, e := range r.Groups() {
		if e.end() > uint64(n) {
			break
		}
		entries, end = append(entries, e), int64(e.end())
	}
	return entries, end
}

func TestI2_AFileCutAtAnyByteIsAnExactPrefix(t *testing.T) {
	for _, g := range goldens(t) {
		data := g.read(t)
		for n := range len(data) {
			if _, err := open(data[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut at %d: opens with %v", g.name, n, err)
			}
			id, entries, valid, err := recovered(data[:n])
			if n < headerSize {
				if !errors.Is(err, ErrCorrupt) || entries != nil || valid != 0 {
					t.Fatalf("%s cut at %d: %v, %d, %v", g.name, n, entries, valid, err)
				}
				continue
			}
			want, end := whole(t, data, n)
			if err != nil || id != g.id || !slices.Equal(entries, want) || valid != end {
				t.Fatalf("%s cut at %d: %s %v %d %v, want %v %d", g.name, n, id, entries, valid, err, want, end)
			}
		}
	}
}

func TestI2_AnyFlippedBitIsSeen(t *testing.T) {
	for _, g := range goldens(t) {
		data := g.read(t)
		_, groupsEnd := whole(t, data, len(data))
		for bit := range 8 * len(data) {
			bad := slices.Clone(data)
			bad[bit/8] ^= 1 << (bit % 8)
			r, err := open(bad)
			if err == nil {
				_, err = r.Verify()
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s, bit %d: %v", g.name, bit, err)
			}
			_, entries, valid, err := recovered(bad)
			if bit < 8*headerSize {
				if !errors.Is(err, ErrCorrupt) || valid != 0 {
					t.Fatalf("%s, header bit %d: %d bytes, %v", g.name, bit, valid, err)
				}
				continue
			}
			want, end := whole(t, data, bit/8)
			if int64(bit/8) >= groupsEnd {
				want, end = whole(t, data, len(data))
			}
			if err != nil || !slices.Equal(entries, want) || valid != end {
				t.Fatalf("%s, bit %d: %v %d %v, want %v %d", g.name, bit, entries, valid, err, want, end)
			}
		}
	}
}

// refit sets the checksums right after a change, as a program with a bug (or of a later version)
// would.
func refit(data []byte, frame Entry) []byte {
	binary.LittleEndian.PutUint32(data[headerCRCAt:], CRC(data[:headerCRCAt]))
	body := data[frame.Offset:frame.end()]
	binary.LittleEndian.PutUint32(body[4:], CRC(body[framePrefix:]))
	end := int(frame.end())
	return appendFooter(data[:end:end], []Entry{{frame.Offset, frame.Length, CRC(body[framePrefix:])}})
}

// TestCorruption is a table of sentences about what a reader says to a damaged file.
func TestCorruption(t *testing.T) {
	g := goldens(t)[0] // one group
	data := g.read(t)
	group, footer := func() (Entry, int) {
		r, err := open(data)
		if err != nil {
			t.Fatal(err)
		}
		return r.Groups()[0], int(r.Groups()[0].end())
	}()
	first := int(group.Offset)
	put32 := binary.LittleEndian.PutUint32
	footerCRC := func(b []byte) []byte {
		put32(b[len(b)-footerTail:], CRC(b[footer:len(b)-footerTail]))
		return b
	}
	for _, test := range []struct {
		name    string
		damage  func(b []byte) []byte
		kind    error
		message string // of Open followed by Verify
		groups  int    // that Recover finds
		recover error
	}{
		{"an empty file",
			func(b []byte) []byte { return nil },
			ErrCorrupt, "header at byte 0: cut short", 0, ErrCorrupt},
		{"a file of zeros",
			func(b []byte) []byte { return make([]byte, len(b)) },
			ErrCorrupt, "header at byte 0: magic", 0, ErrCorrupt},
		{"a header of a later version",
			func(b []byte) []byte { b[headerFormatAt] = 2; return refit(b, group) },
			ErrNewerFormat, "format version 2", 0, ErrNewerFormat},
		{"a header with an impossible node",
			func(b []byte) []byte { b[headerNodeAt] = 'P'; return refit(b, group) },
			ErrCorrupt, "node id", 0, ErrCorrupt},
		{"a header with a node that is too long",
			func(b []byte) []byte { b[headerNodeLenAt] = 64; return refit(b, group) },
			ErrCorrupt, "node id of 64 bytes", 0, ErrCorrupt},
		{"a header with rubbish behind the node",
			func(b []byte) []byte { b[headerNodeAt+60] = 1; return refit(b, group) },
			ErrCorrupt, "not zero", 0, ErrCorrupt},
		{"a header and nothing else",
			func(b []byte) []byte { return b[:headerSize] },
			ErrCorrupt, "footer at byte 96: cut short", 0, nil},
		{"a group of a later version",
			func(b []byte) []byte { b[first+framePrefix] = 2; return refit(b, group) },
			ErrNewerFormat, "version 2", 0, ErrNewerFormat},
		{"a group whose header is longer than it",
			func(b []byte) []byte { put32(b[first+9:], 1<<31); return refit(b, group) },
			ErrCorrupt, "does not fit", 0, ErrCorrupt},
		{"a group whose header says nothing sensible",
			func(b []byte) []byte { b[first+frameHeaderAt] = 0xff; return refit(b, group) },
			ErrCorrupt, "group header", 0, ErrCorrupt},
		{"a group with a bad checksum",
			func(b []byte) []byte { b[footer-1] ^= 1; return b },
			ErrCorrupt, "group at byte 96: checksum", 0, nil},
		{"a group whose length is too long",
			func(b []byte) []byte { put32(b[first:], 1<<32-1); return b },
			ErrCorrupt, "group at byte 96: length says", 0, nil},
		{"a group of length zero",
			func(b []byte) []byte { put32(b[first:], 0); return b },
			ErrCorrupt, "group at byte 96: length says", 0, nil},
		{"a footer with a bad checksum",
			func(b []byte) []byte { b[footer+4] ^= 1; return b },
			ErrCorrupt, "footer at byte", 1, nil},
		{"a footer that counts more groups than it has",
			func(b []byte) []byte { put32(b[footer+4:], 1<<30); return footerCRC(b) },
			ErrCorrupt, "cannot index", 1, nil},
		{"a footer that points elsewhere",
			func(b []byte) []byte { b[footer+footerHead]++; return footerCRC(b) },
			ErrCorrupt, "group 0 has", 1, nil},
		{"a footer with another group's checksum",
			func(b []byte) []byte { b[footer+footerHead+12]++; return footerCRC(b) },
			ErrCorrupt, "the index", 1, nil},
		{"a footer with a longer group",
			func(b []byte) []byte { b[footer+footerHead+8]++; return footerCRC(b) },
			ErrCorrupt, "groups end at", 1, nil},
		{"a footer length that reaches into the header",
			func(b []byte) []byte { put32(b[len(b)-12:], uint32(len(b)-10)); return b },
			ErrCorrupt, "impossible", 1, nil},
		{"a footer length of nothing",
			func(b []byte) []byte { put32(b[len(b)-12:], 0); return b },
			ErrCorrupt, "impossible", 1, nil},
		{"a byte behind the footer",
			func(b []byte) []byte { return append(b, 0) },
			ErrCorrupt, "the last bytes are not", 1, nil},
		{"zeros behind the last whole group",
			func(b []byte) []byte { clear(b[footer:]); return append(b, make([]byte, 5000)...) },
			ErrCorrupt, "the last bytes are not", 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := test.damage(slices.Clone(data))
			r, err := open(bad)
			if err == nil {
				_, err = r.Verify()
			}
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("error %v, want %v with %q", err, test.kind, test.message)
			}
			_, entries, _, err := recovered(bad)
			if len(entries) != test.groups || !errors.Is(err, test.recover) {
				t.Errorf("recovered %d groups, %v; want %d, %v", len(entries), err, test.groups, test.recover)
			}
		})
	}
}

func TestReadGroupChecksTheRecord(t *testing.T) {
	data := goldens(t)[1].read(t)
	r, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	file, e, next := bytes.NewReader(data), r.Groups()[0], r.Groups()[1]
	if frame, err := ReadGroup(file, e.Offset, e.Length, e.CRC); err != nil || FrameCRC(frame) != e.CRC {
		t.Fatal(err)
	}
	for name, bad := range map[string]Entry{
		"another group's place":    {next.Offset, e.Length, e.CRC},
		"another group's checksum": {e.Offset, e.Length, next.CRC},
		"too short":                {e.Offset, e.Length - 1, e.CRC},
		"too long":                 {e.Offset, e.Length + 1, e.CRC},
		"behind the end":           {uint64(len(data)), e.Length, e.CRC},
		"an offset of 2^63":        {1 << 63, e.Length, e.CRC},
		"a length of nothing":      {e.Offset, 0, e.CRC},
		"a length of 4 GB":         {e.Offset, 1<<32 - 1, e.CRC},
	} {
		if _, err := ReadGroup(file, bad.Offset, bad.Length, bad.CRC); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errIO = errors.New("input/output error")

type failingReader struct{ io.ReaderAt }

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, errIO }

// TestAFailureToReadIsNotCorruption: the bytes may be fine, and nobody must throw them away.
func TestAFailureToReadIsNotCorruption(t *testing.T) {
	_, openErr := Open(failingReader{}, 1000)
	_, _, _, recoverErr := Recover(failingReader{}, 1000)
	_, groupErr := ReadGroup(failingReader{}, 96, 100, 0)
	for _, err := range []error{openErr, recoverErr, groupErr} {
		if !errors.Is(err, errIO) || typed(err) {
			t.Errorf("%v", err)
		}
	}
}
