// Package kv is the ordered key-value store under the sequencer: transactions that are serialisable, over keys in
// byte order. Its implementations are in the folders below; kvtest holds them to this contract.
//
// The limits are those of the strictest implementation to come (FoundationDB), checked on all of them, so that what
// works on one machine works on a cluster.
package kv

import (
	"context"
	"errors"
)

// Limits of one transaction, in bytes.
const (
	KeyBytesMax         = 10_000
	ValueBytesMax       = 100_000
	TransactionBytesMax = 10_000_000 // keys and values written, bounds of cleared ranges
)

// ErrUnknown says that the commit may have happened, or may still happen until the store has answered a later
// transaction. Whoever gets it runs a transaction again that is harmless when repeated, or reports it.
var ErrUnknown = errors.New("outcome of the transaction unknown")

// ErrTooLarge says that the transaction passed a limit. It had no effect, and will not have one if repeated.
var ErrTooLarge = errors.New("transaction too large")

// ErrUnavailable says that the store cannot be reached or is closed. The transaction had no effect.
var ErrUnavailable = errors.New("store unavailable")

// ErrFailed says that the store's disk refused a write, or that the store is damaged: the process should end, since
// nobody knows any more what is on the disk. It comes together with ErrUnknown for the transaction that met it, and
// with ErrUnavailable for all later ones.
var ErrFailed = errors.New("store failed")

// Pair is one key with its value. Both belong to the store: see Reader.
type Pair struct {
	Key, Value []byte
}

// Reader reads one consistent state of the store, chosen by its first read at the latest. What it returns is valid until the transaction's function returns,
// and must not be changed.
type Reader interface {
	// Get returns a key's value; nil if the key is absent, which an empty value is not.
	Get(key []byte) ([]byte, error)
	// Range returns the pairs with begin <= key < end, in key order, or from the last one back if reverse is set;
	// at most limit of them, all if limit is 0.
	Range(begin, end []byte, limit int, reverse bool) ([]Pair, error)
}

// Span is the keys from Begin to End, without End.
type Span struct{ Begin, End []byte }

// Ahead is a Reader on the other side of a network: told what will be read, it asks for all of it at once, and Get and
// Range (of a whole span, without a limit, forwards) then wait for one journey instead of one each. It changes no
// result, also not that of a read which was not announced or comes after a write of the same transaction.
type Ahead interface {
	ReadAhead(keys [][]byte, spans []Span)
}

// Txn reads and writes; its reads see its own writes. Writes return no error: one that passes a limit makes Update
// return ErrTooLarge. Keys are copied; a value is kept, and must not be changed after it was handed over.
type Txn interface {
	Reader
	Set(key, value []byte)
	Clear(key []byte)
	// ClearRange clears begin <= key < end.
	ClearRange(begin, end []byte)
}

// Store is safe for concurrent use. All its transactions are serialisable: as if they ran one after the other, in an
// order that agrees with real time.
type Store interface {
	// View runs f on one state of the store, again if the store asks for it: f must have no effect but what it
	// overwrites on every run. An error of f is returned as it is.
	View(ctx context.Context, f func(Reader) error) error
	// Update runs f, again if the store asks for it (a conflict), and makes its writes durable. f must have no
	// effect but through its Txn and what it overwrites on every run. An error of f undoes it and is returned as it
	// is. Any error but ErrUnknown means that nothing was written.
	Update(ctx context.Context, f func(Txn) error) error
	// Watch returns a channel that is closed once the key's value has changed after Watch returned, or ctx has ended.
	// It may be closed without either: look, and watch again.
	Watch(ctx context.Context, key []byte) (<-chan struct{}, error)
	// Shards is how many shards a cluster gets that is created on this store.
	Shards() int
	// Close waits for running transactions. Later ones get ErrUnavailable.
	Close() error
}
