// Package outbox keeps an application's writes on its disk until the cluster has answered them, and delivers them once.
//
// The problem. An application hands over rows and goes on; it, the machine and the cluster may each be away at any
// moment, for any time. Every row must reach its table once, in the order in which its table's rows were handed over.
//
// The order of steps. Each is on the disk, synced, before the next begins:
//
//	taken       the write's rows; only then is the application told that they are safe
//	registered  the epoch under which the producer sends, and whether the cluster still knew what it had sent before
//	numbered    "may have been sent": the write's sequence, which holds its epoch in its upper half
//	 (sent)     until there is an answer, under the same sequence, by this process or a later one
//	answered    the TxID, or the refusal; only then may `settled` pass the sequence
//	reported    of a refusal: the application has taken the rows back
//
// What if it dies here? Before taken: nobody was told anything. Before numbered: the write was certainly never sent, and
// is delivered under whatever registration comes next. After numbered: it is sent again under its sequence, and the
// cluster gives the first answer. If the cluster says at the next registration that it has forgotten the producer, then
// what is numbered has an unknown outcome, and is reported; the rest has no number yet and is delivered. After answered:
// nothing is sent; `settled` may never have been said, which costs the cluster some memory until it is.
//
// Numbers are given when a write is first sent, not when it is taken, and none is ever given by two registrations. So
// two copies of one folder cannot give one number to two writes, whatever they do before one fences the other.
//
// Of each table one batch is under way at a time, which keeps the order through failovers; tables go beside each other.
//
// Code: format.go and scan.go are the bytes (docs/formats/outbox.md); core.go folds records into what is open, without
// I/O, the same way when they are written and when they are read again; journal.go is the files; box.go and the files
// after it take, flush, register, deliver, report and clean. Box has no goroutine and no clock of its own: the SDK runs it
// on real ones, the simulator on its own.
//
// It does not promise an order between tables, nor that a write which is damaged on the disk is found by anything but
// its checksum.
package outbox
