package table

import (
	"errors"
	"fmt"
	"io/fs"
)

// Repair is called when a reader found a table's record file damaged: the file is cut at its last good record, and
// the table is stalled there, so that the log is read again. Readers see the lower TxID until then.
func (s *Store) Repair(table string) error {
	t := s.find(table)
	if t == nil {
		return nil
	}
	sh := s.shards[t.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.repair(sh, t)
}

// repair is Repair under the shard's lock.
func (s *Store) repair(sh *shardState, t *tab) error {
	if err := s.files.forget(t.path()); err != nil {
		return fmt.Errorf("repair table %s: %w", t.name, err)
	}
	fresh := &tab{name: t.name, folder: t.folder}
	cut, err := fresh.load(s.cfg.FS)
	if err == nil && fresh.name != t.name {
		err = &CorruptError{Path: t.path(), Reason: "it is the file of table " + fresh.name}
	}
	corrupt := new(CorruptError)
	if errors.As(err, &corrupt) || errors.Is(err, fs.ErrNotExist) {
		// Nothing of it is left. The next record that comes makes the file anew.
		cut, fresh.state, fresh.marks, err = err, state{}, nil, nil
	}
	if err != nil {
		return fmt.Errorf("repair table %s: %w", t.name, err)
	}
	s.cfg.Logger.Warn("table file repaired", "table", t.name, "txid", fresh.state.applied,
		"txid_before", t.state.applied, "error", cut)
	lost := t.state.records - min(t.state.records, fresh.state.records)
	t.behind += lost
	t.dirty, t.fresh, t.torn = fresh.state.size > 0, true, false
	t.mu.Lock()
	t.state, t.marks, t.every = fresh.state, fresh.marks, fresh.every
	t.mu.Unlock()
	if lost > 0 {
		s.rewind(sh, t)
	}
	return nil
}

// rewind stalls a table behind its last record, if its shard is past that.
func (s *Store) rewind(sh *shardState, t *tab) {
	at := t.state.index + 1
	if t.stalledAt != 0 {
		at = min(at, t.stalledAt)
	}
	if at <= sh.position {
		t.stalledAt, t.why = at, errRereading
		sh.stalled[t] = struct{}{}
	}
}
