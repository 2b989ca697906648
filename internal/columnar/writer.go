package columnar

import (
	"io"

	"github.com/seed-551dd829/braid/internal/api"
)

// Writer prints rows in one of the formats of the HTTP API.
type Writer interface {
	// Write prints rows [from, to) of a group, which are of the transaction txid. The group's
	// columns are the first columns of the writer's schema; the others are null.
	Write(rows *Rows, from, to int, txid uint64) error
	// Close prints what is held back. It does not close what the writer writes to.
	Close() error
}

// NewWriter returns a writer of the format ndjson, csv or arrow; Invalid for another. With txid, a
// column of that name stands behind the timestamp and has each row's TxID; Invalid if the table has
// a column of that name itself. Every format gives each value back exactly: 64-bit integers as
// numbers, floats in the shortest form that reads back the same, a timestamp as integer nanoseconds
// (in Arrow as its own type).
func NewWriter(w io.Writer, format string, schema api.Schema, txid string) (Writer, error) {
	if _, ok := schema.Index(txid); ok && txid != "" {
		return nil, api.Errorf(api.Invalid, "the table has a column %q of its own", txid)
	}
	switch format {
	case "ndjson":
		return newNDJSON(w, schema, txid), nil
	case "csv":
		return newCSV(w, schema, txid), nil
	case "arrow":
		return newArrow(w, schema, txid), nil
	}
	return nil, api.Errorf(api.Invalid, "unknown format %q: ndjson, csv and arrow are known", format)
}

// ContentType returns the media type of a format that NewWriter knows.
func ContentType(format string) string {
	switch format {
	case "ndjson":
		return "application/x-ndjson"
	case "csv":
		return "text/csv; charset=utf-8"
	}
	return "application/vnd.apache.arrow.stream"
}

// flushBytes is how much text a writer gathers before it writes.
const flushBytes = 64 << 10
