// Package replicator is the service in every node that follows the commit logs, fetches the segments that they name,
// and applies their groups to the node's tables in TxID order; and that serves what it has applied over HTTP.
//
//	hint, poll ──▶ core ──▶ Log(from) ──▶ records ──▶ segments here? ──▶ table.Apply
//	                ▲                                  │ no                   │
//	                │                                  ▼                      │
//	                │                  object store, else another node        │
//	                └──────────────────── position, stalled ──────────────────┘
//
// Every shard has its own loop (follow.go) around its own core (core.go). Nothing is decoded on the way: a record is
// applied when its group's bytes are here and have their checksum. A damaged or missing file is fetched again, when a
// record is applied, when rows are read, and when the scrub (scrub.go) finds it. What cannot be repaired at once waits
// in the ward (ward.go) and is tried again (heal.go); the tables that need it stand alone meanwhile.
//
// Fetched segments are not synced: the object store has their bytes, and what a crash tears is noticed by its
// checksum. The tables' records are synced before a checkpoint counts on them.
package replicator
