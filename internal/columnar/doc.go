// Package columnar holds rows in typed columns and turns them into Arrow: a Batch is filled by the
// parsers, Encode makes one group's Arrow IPC stream of any number of batches, Validate says
// whether a stream is one that every node can decode, Decode opens it, and the writers print rows
// in the formats of the HTTP API.
//
// The subset of Arrow IPC that Braid stores is written and read here directly instead of through
// arrow-go, for three reasons: a primary must never panic or allocate without bound on a sender's
// bytes (arrow-go trusts flatbuffers and declared lengths); a group of one row must be cheap; and
// nothing is allocated per row. The tests hold both directions against arrow-go.
// docs/formats/segment.md describes the stream.
//
// What it does not promise: a Batch, Rows or Writer is for one goroutine at a time.
package columnar
