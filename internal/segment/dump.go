package segment

import (
	"bufio"
	"fmt"
	"io"

	"github.com/seed-551dd829/braid/internal/api"
)

// Dump writes a segment of size bytes in a form for people: the header, every group, every write. A
// segment that is damaged is printed as far as it goes, and the error says what is wrong with the
// rest.
func Dump(w io.Writer, r io.ReaderAt, size int64) error {
	out := bufio.NewWriter(w)
	id, entries, valid, err := Recover(r, size)
	if valid == 0 {
		return err
	}
	fmt.Fprintf(out, "segment %s  format %d  %d bytes  %d groups\n", id, format, size, len(entries))
	for i, e := range entries {
		if dumpErr := dumpGroup(out, r, i, e); dumpErr != nil {
			out.Flush()
			return dumpErr
		}
	}
	if err == nil {
		_, err = Open(r, size)
	}
	if err != nil {
		fmt.Fprintf(out, "damaged behind byte %d, %d bytes are left over\n", valid, size-valid)
		out.Flush()
		return err
	}
	fmt.Fprintf(out, "footer  offset %d  length %d\n", valid, size-valid)
	return out.Flush()
}

func dumpGroup(w io.Writer, r io.ReaderAt, i int, e Entry) error {
	frame, err := ReadGroup(r, e.Offset, e.Length, e.CRC)
	if err != nil {
		return err
	}
	g, err := parseChecked(frame, e.Offset, e)
	if err != nil {
		return err
	}
	h := &g.Header
	fmt.Fprintf(w, "group %d  offset %d  length %d  crc %08x\n", i, e.Offset, e.Length, e.CRC)
	fmt.Fprintf(w, "  table %q  fingerprint %s  durability %s  identity %s\n",
		h.Table, h.Fingerprint, h.Durability, identity(h.ID, ""))
	fmt.Fprintf(w, "  %d writes  %d rows  %d bytes of Arrow\n",
		len(h.Writes), h.Rows(), len(g.Arrow))
	for n := range h.Writes {
		write := &h.Writes[n]
		expected := "-"
		if write.Locked {
			expected = fmt.Sprint(write.Expected)
		}
		fmt.Fprintf(w, "  write %d  rows %d  expected %s  identity %s\n",
			n, write.Rows, expected, identity(write.ID, write.Key))
	}
	return nil
}

func identity(p api.ProducerSeq, key string) string {
	switch {
	case !p.None():
		return fmt.Sprintf("%s epoch %d sequence %d settled %d",
			p.Producer, p.Epoch, p.Sequence, p.Settled)
	case key != "":
		return fmt.Sprintf("key %q", key)
	}
	return "-"
}
