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

	ahead ahead
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
	future, asked := x.ahead.key(key)
	if !asked {
		future = x.t.Get(x.key(key))
	}
	v, err := future.Get()
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
	found, err := x.result(begin, end, limit, reverse).GetSliceWithError()
	if err != nil {
		return nil, fmt.Errorf("range: %w", err)
	}
	pairs := make([]kv.Pair, len(found))
	for i, p := range found {
		pairs[i] = kv.Pair{Key: p.Key[len(x.prefix):], Value: p.Value}
	}
	return pairs, nil
}

func (x *txn) result(begin, end []byte, limit int, reverse bool) fdb.RangeResult {
	if limit == 0 && !reverse {
		if result, asked := x.ahead.span(begin, end); asked {
			return result
		}
		return x.whole(begin, end)
	}
	mode := fdb.StreamingModeWantAll
	if limit > 0 {
		mode = fdb.StreamingModeExact
	}
	return x.t.GetRange(x.keys(begin, end), fdb.RangeOptions{Limit: limit, Mode: mode, Reverse: reverse})
}

// whole begins to read a span.
func (x *txn) whole(begin, end []byte) fdb.RangeResult {
	return x.t.GetRange(x.keys(begin, end), fdb.RangeOptions{Mode: fdb.StreamingModeWantAll})
}

// Set implements kv.Txn.
func (x *txn) Set(key, value []byte) {
	if x.meter.Write(key, value) {
		x.ahead.wrote(key)
		x.t.Set(x.key(key), value)
	}
}

// Clear implements kv.Txn.
func (x *txn) Clear(key []byte) {
	if x.meter.Write(key, nil) {
		x.ahead.wrote(key)
		x.t.Clear(x.key(key))
	}
}

// ClearRange implements kv.Txn.
func (x *txn) ClearRange(begin, end []byte) {
	if bytes.Compare(begin, end) < 0 && x.meter.Write(begin, end) {
		x.ahead = ahead{}
		x.t.ClearRange(x.keys(begin, end))
	}
}
