//go:build fdb

package fdb

import (
	"bytes"
	"slices"

	"github.com/apple/foundationdb/bindings/go/src/fdb"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// ahead is what a transaction has asked for and nobody has read yet. The futures know nothing of what the transaction
// writes afterwards, so what was written is not read from them.
type ahead struct {
	keys    map[string]fdb.FutureByteSlice
	spans   map[string]spanAhead // by first key
	written [][]byte             // ascending
}

type spanAhead struct {
	end    string
	result fdb.RangeResult
}

// ReadAhead implements kv.Ahead.
func (x *txn) ReadAhead(keys [][]byte, spans []kv.Span) {
	a := &x.ahead
	if a.keys == nil {
		a.keys, a.spans = make(map[string]fdb.FutureByteSlice), make(map[string]spanAhead)
	}
	for _, key := range keys {
		if _, asked := a.keys[string(key)]; !asked {
			a.keys[string(key)] = x.t.Get(x.key(key))
		}
	}
	for _, s := range spans {
		if _, asked := a.spans[string(s.Begin)]; !asked {
			a.spans[string(s.Begin)] = spanAhead{string(s.End), x.whole(s.Begin, s.End)}
		}
	}
}

func (a *ahead) key(key []byte) (fdb.FutureByteSlice, bool) {
	future, asked := a.keys[string(key)]
	return future, asked && !a.touched(key, append(bytes.Clone(key), 0))
}

func (a *ahead) span(begin, end []byte) (fdb.RangeResult, bool) {
	s, asked := a.spans[string(begin)]
	return s.result, asked && s.end == string(end) && !a.touched(begin, end)
}

func (a *ahead) touched(begin, end []byte) bool {
	i, _ := slices.BinarySearchFunc(a.written, begin, bytes.Compare)
	return i < len(a.written) && bytes.Compare(a.written[i], end) < 0
}

// wrote takes note of a key that was set or cleared. Most come in ascending order.
func (a *ahead) wrote(key []byte) {
	if a.keys == nil {
		return
	}
	if i, found := slices.BinarySearchFunc(a.written, key, bytes.Compare); !found {
		a.written = slices.Insert(a.written, i, bytes.Clone(key))
	}
}

var _ kv.Ahead = (*txn)(nil)
