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

// TxIDColumn is the column behind the timestamp where the TxID is asked for.
const TxIDColumn = "txid"

// NewWriter returns a writer of the format ndjson, csv or arrow; Invalid for another, or if
// withTxID and the table itself has a column of that name. Every format gives each value back
// exactly: 64-bit integers as numbers, floats in the shortest form that reads back the same, a
// timestamp as integer nanoseconds (in Arrow as its own type).
func NewWriter(w io.Writer, format string, schema api.Schema, withTxID bool) (Writer, error) {
	if _, ok := schema.Index(TxIDColumn); ok && withTxID {
		return nil, api.Errorf(api.Invalid, "the table has a column %q of its own", TxIDColumn)
	}
	switch format {
	case "ndjson":
		return newNDJSON(w, schema, withTxID), nil
	case "csv":
		return newCSV(w, schema, withTxID), nil
	case "arrow":
		return newArrow(w, schema, withTxID), nil
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
