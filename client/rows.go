package client

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// Rows are the rows of one write. They are, as you like:
//
//	client.NewRows()             a builder: Symbol("host", "a").Int64("usage", 1).At(t)
//	client.Structs(rows)         a slice of tagged structs
//	client.LineProtocol(text)    InfluxDB line protocol
//	client.NDJSON(text)          JSON objects, one a line
//	client.ArrowStream(bytes)    an Arrow IPC stream
//	arrowrows.Records(batches)   Arrow record batches, in package client/arrowrows
//	table.Prepare(ctx, rows)     any of them, encoded once to be written many times
type Rows interface {
	// Payload returns the rows as they travel. Its errors are *InvalidError or ErrTooLarge.
	Payload() (Payload, error)
}

// Payload is rows as bytes in one of the forms that a cluster reads. It is Rows itself, so that bytes which are there
// already, compressed perhaps, can be written as they are. The bytes are used until the write returns (WriteAsync
// makes a copy), and never changed.
type Payload struct {
	Type     MediaType
	Encoding string // "", "gzip" or "zstd": how Data is compressed
	Data     []byte
}

// MediaType says what form rows have.
type MediaType string

// The forms that a cluster reads.
const (
	TypeLineProtocol MediaType = api.TypeLineProtocol
	TypeNDJSON       MediaType = api.TypeNDJSON
	TypeArrow        MediaType = api.TypeArrow
)

// Payload returns p itself.
func (p Payload) Payload() (Payload, error) { return p, nil }

// LineProtocol are rows in InfluxDB line protocol, with timestamps in nanoseconds.
func LineProtocol(data []byte) Payload { return Payload{Type: TypeLineProtocol, Data: data} }

// NDJSON are rows as JSON objects, one a line.
func NDJSON(data []byte) Payload { return Payload{Type: TypeNDJSON, Data: data} }

// ArrowStream is an Arrow IPC stream. Dictionary-encoded strings become tags; `timestamp` may have any unit.
func ArrowStream(data []byte) Payload { return Payload{Type: TypeArrow, Data: data} }

// batched are rows that are in columns already, so that they can be encoded here without being parsed. The batch is
// only borrowed, until the rows are changed or the write returns.
type batched interface {
	batch() (*columnar.Batch, error)
}
