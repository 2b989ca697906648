// Package columnar holds rows in typed columns and turns them into Arrow: a Batch is filled by the
// parsers, Encode makes one group's Arrow IPC stream of any number of batches, Validate says
// whether a stream is one that every node can decode, Decode opens it, and the writers print rows
// in the formats of the HTTP API.
//
// arrow-go writes and reads all Arrow. In front of it, where bytes come from outside, stands a check
// of our own (flat.go, stream.go, validate.go): arrow-go trusts offsets and declared lengths, so that
// a few bytes can make it panic or take gigabytes, and a primary must refuse them before it admits a
// group. The check reads the metadata as arrow-go's generated code does, so that what it passes,
// arrow-go reads; it takes 0.06 us a row where arrow-go takes 0.1 us to unpack one.
// docs/formats/segment.md describes the stream.
//
// What it does not promise: a Batch, Rows or Writer is for one goroutine at a time.
package columnar
