//go:build fdb

package fdb

import (
	"bytes"
	"fmt"

	"github.com/apple/foundationdb/bindings/go/src/fdb"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// txn is one run of a transaction's function.
type txn struct {
	t      fdb.Transaction
	prefix []byte
	meter  kv.Meter
}

func (x *txn) key(key []byte) fdb.Key {
	k := make(fdb.Key, 0, len(x.prefix)+len(key))
	return append(append(k, x.prefix...), key...)
}

func (x *txn) keys(begin, end []byte) fdb.KeyRange {
	return fdb.KeyRange{Begin: x.key(begin), End: x.key(end)}
}

// Get implements kv.Reader.
func (x *txn) Get(key []byte) ([]byte, error) {
	v, err := x.t.Get(x.key(key)).Get()
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	return v, nil
}

// Range implements kv.Reader.
func (x *txn) Range(begin, end []byte, limit int, reverse bool) ([]kv.Pair, error) {
	if bytes.Compare(begin, end) >= 0 {
		return nil, nil // an error to FoundationDB
	}
	mode := fdb.StreamingModeWantAll
	if limit > 0 {
		mode = fdb.StreamingModeExact
	}
	found, err := x.t.GetRange(x.keys(begin, end), fdb.RangeOptions{Limit: limit, Mode: mode, Reverse: reverse}).
		GetSliceWithError()
	if err != nil {
		return nil, fmt.Errorf("range: %w", err)
	}
	pairs := make([]kv.Pair, len(found))
	for i, p := range found {
		pairs[i] = kv.Pair{Key: p.Key[len(x.prefix):], Value: p.Value}
	}
	return pairs, nil
}

// Set implements kv.Txn.
func (x *txn) Set(key, value []byte) {
	if x.meter.Write(key, value) {
		x.t.Set(x.key(key), value)
	}
}

// Clear implements kv.Txn.
func (x *txn) Clear(key []byte) {
	if x.meter.Write(key, nil) {
		x.t.Clear(x.key(key))
	}
}

// ClearRange implements kv.Txn.
func (x *txn) ClearRange(begin, end []byte) {
	if bytes.Compare(begin, end) < 0 && x.meter.Write(begin, end) {
		x.t.ClearRange(x.keys(begin, end))
	}
}
