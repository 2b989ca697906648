package table

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/seed-551dd829/braid/internal/api"
)

func hexDigest(d [32]byte) string { return hex.EncodeToString(d[:]) }

// Read iterates over the records of a table that overlap the TxIDs from to to, in TxID order, as far as they are
// applied when Read begins; what is applied meanwhile is not seen. A damaged record file ends it with *CorruptError:
// the caller calls Repair and reads again from where it was. A table that is not here has no records.
func (s *Store) Read(table string, from, to uint64) iter.Seq2[api.LogRecord, error] {
	return func(yield func(api.LogRecord, error) bool) {
		err := s.scan(table, from, func(e *entry) bool {
			if e.record.First > to {
				return false
			}
			return e.record.Last() < from || yield(e.record, nil)
		})
		if err != nil {
			yield(api.LogRecord{}, fmt.Errorf("read table %s: %w", table, err))
		}
	}
}

// scan calls fn for the entries from the last sparse mark at or before txid on, until it returns false.
func (s *Store) scan(table string, txid uint64, fn func(*entry) bool) (err error) {
	t := s.find(table)
	if t == nil {
		return nil
	}
	st, marks := t.snapshot()
	if len(marks) == 0 {
		return nil
	}
	f, err := s.cfg.FS.Open(t.path())
	if err != nil {
		return &CorruptError{Path: t.path(), Reason: err.Error()}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	scan := newScanner(t.path(), f, seek(marks, txid).offset, st.size)
	for {
		e, err := scan.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || !fn(&e) {
			return err
		}
	}
}

// Digest returns the table's digest at the largest record boundary at or below txid; 0 asks for the applied TxID. A
// table without a transaction has the digest of 32 zero bytes at TxID 0.
func (s *Store) Digest(table string, txid uint64) (api.DigestAnswer, error) {
	t := s.find(table)
	if t == nil {
		return api.DigestAnswer{Table: table, Digest: hexDigest([32]byte{})}, nil
	}
	st, marks := t.snapshot()
	if txid == 0 || txid >= st.applied {
		return answer(table, &st, st.applied, st.digest), nil
	}
	m := seek(marks, txid+1)
	at, digest := m.first-1, m.digest
	err := s.scan(table, txid+1, func(e *entry) bool {
		if e.record.Last() > txid {
			return false
		}
		at, digest = e.record.Last(), e.digest
		return true
	})
	if err != nil {
		return api.DigestAnswer{}, fmt.Errorf("digest of table %s: %w", table, err)
	}
	return answer(table, &st, at, digest), nil
}

func answer(table string, st *state, at uint64, digest [32]byte) api.DigestAnswer {
	return api.DigestAnswer{Table: table, Applied: st.applied, TxID: at, Digest: hexDigest(digest)}
}
