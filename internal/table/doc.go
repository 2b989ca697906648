// Package table holds a node's local tables. A table is group bytes verbatim (in segment files, which this package
// never opens), their commit records, and an index over them: one append-only file of records per table. Applying a
// record appends its entry; no row is written a second time.
//
// What survives a crash is a prefix of each table's records, and a checkpoint from which the commit logs are read
// again; records that a table already has are skipped, because TxIDs are dense. The layout of both files, and the
// bytes of the digest, are in docs/formats/table.md.
//
// The package does not check that the bytes that a record points to are there: its caller does, before Apply.
package table
