// Package primary is the service that takes groups: it checks them, appends their bytes verbatim to WAL segments,
// makes segments durable, has the sequencer commit their groups, and only then answers.
//
// What it decides is in core.go, core_segments.go and core_commit.go, a machine without goroutines, clock or I/O; the
// rest is the shell around it:
//
//	NATS ──▶ handler ──▶ checkers (as many as there are processors) ─┐
//	           │ 429, 503                                            ▼ good, or 400
//	           ◀───────────────────── answers ◀──────────────────── core ◀── ticker
//	                                                 commit requests │ ▲  │ append, seal, launch
//	                      sequencer ◀── one at a time a shard ───────┘ │  ▼
//	                                                          durable  │  appender ──▶ SEQUENCE.seg.open
//	                      object store ◀── put ◀── rename ◀── sync ────┴──┘ (three segments at once)
//
// Machine is the same without NATS, goroutines and clock, for the simulator.
//
// Settle is what happens to the segments that an earlier process of the same node left behind.
//
// It does not promise that a group which was answered 503 is not stored: only a refusal with another code does.
package primary
