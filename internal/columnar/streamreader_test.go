package columnar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// answerOf is an arrow answer of some writes, each a text of line protocol of the same columns, with the TxIDs 1, 2, ….
func answerOf(tb testing.TB, schema api.Schema, writes ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := columnar.NewWriter(&out, "arrow", schema, "txid")
	if err != nil {
		tb.Fatal(err)
	}
	for i, text := range writes {
		b, _ := parse(tb, text)
		rows, err := columnar.Decode(encode(tb, schema, b), schema)
		if err != nil {
			tb.Fatal(err)
		}
		if err := w.Write(rows, 0, rows.Len(), uint64(i+1)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// readStream prints all rows that a stream gives, and how it ends.
func readStream(r io.Reader) (rows []string, err error) {
	s, err := columnar.NewStreamReader(r, "txid")
	if err != nil {
		return nil, err
	}
	for {
		batch, err := s.Next()
		if err != nil {
			if _, again := s.Next(); again != err {
				return rows, fmt.Errorf("another error the second time: %w", again)
			}
			return rows, err
		}
		for row := range batch.Len() {
			var line strings.Builder
			for i, c := range s.Columns() {
				if !batch.IsNull(i, row) {
					fmt.Fprintf(&line, "%s=%v ", c.Name, batch.Value(i, row))
				}
			}
			rows = append(rows, line.String())
		}
	}
}

// streamSchema is what all the tests' answers have: two tags, of which the second never changes.
func streamSchema(tb testing.TB) api.Schema {
	return schemaOf(tb, api.Column{Name: "host", Type: api.Tag}, api.Column{Name: "dc", Type: api.Tag},
		api.Column{Name: "v", Type: api.Int64}, api.Column{Name: "s", Type: api.String}, api.Column{Name: "b", Type: api.Boolean})
}

// TestStreamReaderReadsItsWriter: many record batches, whose dictionaries change or do not.
func TestStreamReaderReadsItsWriter(t *testing.T) {
	large := strings.Repeat("x", 3<<20)
	var writes, want []string
	for i := range 8 {
		writes = append(writes, fmt.Sprintf("m,host=h%d,dc=east v=%di,s=\"%s\" %d\nm,dc=east b=t 9\n", i/3, i, large, i))
		want = append(want, fmt.Sprintf("timestamp=%d txid=%d host=h%d dc=east v=%d s=%s ", i, i+1, i/3, i, large),
			fmt.Sprintf("timestamp=9 txid=%d dc=east b=true ", i+1))
	}
	answer := answerOf(t, streamSchema(t), writes...)
	rows, err := readStream(bytes.NewReader(answer))
	if err != io.EOF || len(rows) != len(want) {
		t.Fatalf("%d rows, want %d: %v", len(rows), len(want), err)
	}
	for i := range want {
		if rows[i] != want[i] {
			t.Errorf("row %d: %.60q, want %.60q", i, rows[i], want[i])
		}
	}
	if rows, err := readStream(bytes.NewReader(answerOf(t, streamSchema(t)))); len(rows) != 0 || err != io.EOF {
		t.Errorf("no rows: %q, %v", rows, err)
	}
}

// TestStreamReaderEveryCut: whatever is left of a stream gives the rows in front of the cut and an error, never an end.
func TestStreamReaderEveryCut(t *testing.T) {
	answer, whole := smallAnswer(t)
	for n := range len(answer) {
		rows, err := readStream(bytes.NewReader(answer[:n]))
		if err == nil || err == io.EOF || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %d rows, %v", n, len(answer), len(rows), err)
		}
		if len(rows) > len(whole) || strings.Join(rows, "\n") != strings.Join(whole[:len(rows)], "\n") {
			t.Fatalf("cut at %d: rows %q", n, rows)
		}
	}
	if _, err := readStream(bytes.NewReader(append(answer, 0))); err == io.EOF || err == nil {
		t.Errorf("a byte behind the end: %v", err)
	}
}

// TestI8_StreamReaderEveryFlip: no byte makes it panic or go on without end.
func TestI8_StreamReaderEveryFlip(t *testing.T) {
	answer, _ := smallAnswer(t)
	for i := range answer {
		for _, mask := range []byte{1, 0x80, 0xff} {
			answer[i] ^= mask
			if _, err := readStream(bytes.NewReader(answer)); err == nil {
				t.Fatalf("byte %d: no end", i)
			}
			answer[i] ^= mask
		}
	}
}

func smallAnswer(tb testing.TB) (answer []byte, rows []string) {
	answer = answerOf(tb, streamSchema(tb), "m,host=a,dc=x v=1i,s=\"y\" 1\nm v=2i 2\n", "m,dc=z s=\"\",b=f 3\n")
	rows, err := readStream(bytes.NewReader(answer))
	if err != io.EOF || len(rows) != 3 {
		tb.Fatalf("%q, %v", rows, err)
	}
	return answer, rows
}

// TestStreamReaderRefuses what is no table's answer.
func TestStreamReaderRefuses(t *testing.T) {
	utc := arrow.Field{Name: "timestamp", Type: utcNanos}
	txid := column("txid", arrow.PrimitiveTypes.Uint64)
	none := []func(*array.RecordBuilder){}
	for name, c := range map[string]struct {
		fields []arrow.Field
		want   string
	}{
		"no TxIDs":         {[]arrow.Field{utc, column("v", arrow.PrimitiveTypes.Int64)}, "no TxIDs"},
		"no column at all": {nil, "no TxIDs"},
		"signed TxIDs":     {[]arrow.Field{utc, column("txid", arrow.PrimitiveTypes.Int64)}, "no TxIDs"},
		"no timestamp":     {[]arrow.Field{column("v", arrow.PrimitiveTypes.Int64), txid}, "timestamp"},
		"a small integer":  {[]arrow.Field{utc, txid, column("v", arrow.PrimitiveTypes.Int8)}, "not supported"},
		"a column twice": {[]arrow.Field{utc, txid, column("v", arrow.PrimitiveTypes.Int64),
			column("v", arrow.PrimitiveTypes.Int64)}, "twice"},
	} {
		_, err := readStream(bytes.NewReader(arrowStream(t, arrow.NewSchema(c.fields, nil), none)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	_, err := columnar.NewStreamReader(strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\x7f"), "")
	if err == nil || !strings.Contains(err.Error(), "bytes of metadata") {
		t.Errorf("a length without bytes: %v", err)
	}
}

func FuzzStreamReader(f *testing.F) {
	answer, _ := smallAnswer(f)
	f.Add(answer)
	f.Add(answerOf(f, streamSchema(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readStream(bytes.NewReader(data)); err == nil {
			t.Error("a stream without an end")
		}
	})
}
