// Package producer is what a producer decides: which number a write gets, up to where it is settled, whether it may be
// sent now, and what the end of an attempt means. It is the SDK's core, and the simulator's. It knows no network, no
// disk, no clock and no lock: its caller has them.
//
// A write's way through it:
//
//	Take ──▶ (a log writes it down) ──▶ Identity ──▶ attempts, judged by a Flight ──▶ (the answer is written down) ──▶ Done
//
// A producer whose rows outlive its process has a log. It writes a write and its number down before the first
// attempt, and the answer before Done; its next process says with Restore what it found, and only after it has
// registered. The order is what makes a crash between any two steps harmless: a number that was given but not written
// down was not sent either, so it may be given again.
package producer
