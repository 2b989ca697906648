// Package hold keeps segments of other nodes for them: it makes a node a holder (durability `wal`).
//
// A primary sends a segment in pieces; the answer to the last one says that this node has the whole segment, has checked
// every byte, and has synced file and name. From then on the bytes are this node's to keep until the segment is in the
// object store, or nobody can come to need it.
//
// What is decided is in core.go (what to take, what is due) and rule.go (what may be done with a copy): no goroutine, no
// clock, no I/O. The rest is the shell:
//
//	braid.node.<id>.hold ──▶ Take ──▶ core ──▶ write, sync, check, rename ──▶ answer
//	timer, braid.topology ─▶ Tick ──▶ core ──▶ look (registry, object store) ──▶ rule ──▶ upload, confirm, let go
//	                               └▶ strays: pending records of fenced epochs, whoever holds them
//
// Copies are below SEGMENTS/.held, as segment.Path has them. A copy that is let go because the object store has the
// segment becomes the node's own segment file, so that it is not fetched again.
//
// It does not promise to hold: past its bounds, or where the disk fails, it refuses, and the primary asks another.
package hold
