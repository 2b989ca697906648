// Package arrowrows writes and reads Arrow record batches with the Braid SDK. It is a package of its own so that Arrow is in no
// signature of package client.
package arrowrows

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/client"
)

// Records are Arrow record batches of one schema, as rows of one write. Dictionary-encoded strings become tags, other
// strings fields; `timestamp` may have any unit, and is the time of arrival where it is missing or null. They are
// encoded at once, and may be released after this call. An error of the encoder is returned by the write.
func Records(batches ...arrow.RecordBatch) client.Rows {
	payload, err := encode(batches)
	return rows{payload, err}
}

type rows struct {
	payload client.Payload
	err     error
}

func (r rows) Payload() (client.Payload, error) { return r.payload, r.err }

func encode(batches []arrow.RecordBatch) (client.Payload, error) {
	if len(batches) == 0 {
		return client.Payload{}, &client.InvalidError{Message: "no record batch"}
	}
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(batches[0].Schema()), ipc.WithLZ4())
	for i, b := range batches {
		if err := w.Write(b); err != nil {
			return client.Payload{}, &client.InvalidError{Message: fmt.Sprintf("encode record batch %d: %v", i, err)}
		}
	}
	if err := w.Close(); err != nil {
		return client.Payload{}, &client.InvalidError{Message: fmt.Sprintf("encode record batches: %v", err)}
	}
	return client.ArrowStream(buf.Bytes()), nil
}
