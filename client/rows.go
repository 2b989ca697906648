package client

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
)

// Rows are the rows of one write, as bytes in one of the forms that a cluster reads. The bytes are used until the
// write returns, and never changed.
type Rows struct {
	contentType string
	encoding    string
	data        []byte
	err         error
}

// LineProtocol are rows in InfluxDB line protocol, with timestamps in nanoseconds.
func LineProtocol(data []byte) Rows { return Rows{contentType: api.TypeLineProtocol, data: data} }

// NDJSON are rows as JSON objects, one a line.
func NDJSON(data []byte) Rows { return Rows{contentType: api.TypeNDJSON, data: data} }

// ArrowStream is an Arrow IPC stream. Dictionary-encoded strings become tags; `timestamp` may have any unit.
func ArrowStream(data []byte) Rows { return Rows{contentType: api.TypeArrow, data: data} }

// Records are Arrow record batches of one schema. They are encoded at once, and may be released after this call. An
// error of the encoder is returned by the write.
func Records(batches ...arrow.RecordBatch) Rows {
	r := Rows{contentType: api.TypeArrow}
	if len(batches) == 0 {
		r.err = &InvalidError{Message: "no record batch"}
		return r
	}
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(batches[0].Schema()), ipc.WithLZ4())
	for i, b := range batches {
		if err := w.Write(b); err != nil {
			r.err = fmt.Errorf("encode record batch %d: %w", i, err)
			return r
		}
	}
	if err := w.Close(); err != nil {
		r.err = fmt.Errorf("encode record batches: %w", err)
	}
	r.data = buf.Bytes()
	return r
}

// Encoded says that the bytes are compressed already: "gzip" or "zstd".
func (r Rows) Encoded(encoding string) Rows {
	r.encoding = encoding
	return r
}

// Bytes returns the rows as they are sent, which the caller must not change.
func (r Rows) Bytes() []byte { return r.data }
