package table

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

var (
	// errPending is why a table waits for a record that its primary's holders have not uploaded yet. It is no damage.
	errPending = errors.New("a record is pending")
	// errRereading is why a table waits that only needs its turn.
	errRereading = errors.New("its log is being read again")
)

// Lag is a table that has not applied records which its shard's position has passed.
type Lag struct {
	Table   string
	Records uint64 // confirmed ones
}

// Standing is a table that has stopped, while others go on.
type Standing struct {
	Table   string
	Applied uint64 // TxID after which it stands
	Index   uint64 // log index from which it is read again
	Why     error
}

// Standing lists the tables of a shard that wait for something else than a pending record, by name.
func (s *Store) Standing(shard int) (all []Standing) {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for t := range sh.stalled {
		if t.why != errPending {
			all = append(all, Standing{Table: t.name, Applied: t.state.applied, Index: t.stalledAt, Why: t.why})
		}
	}
	slices.SortFunc(all, func(a, b Standing) int { return cmp.Compare(a.Table, b.Table) })
	return all
}

// Lagging lists tables of a shard that are behind its position, max of them at most: those that are furthest behind, in
// no order.
func (s *Store) Lagging(shard, max int) (all []Lag) {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for t := range sh.stalled {
		if t.behind > 0 {
			all = append(all, Lag{Table: t.name, Records: t.behind})
		}
	}
	return Furthest(all, max)
}

// Furthest returns the max tables of all, which it may reorder, that are furthest behind.
func Furthest(all []Lag, max int) []Lag {
	if len(all) <= max {
		return all
	}
	slices.SortFunc(all, func(a, b Lag) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Table, b.Table))
	})
	return all[:max]
}

// Pending says whether a table of a shard stands at a pending record.
func (s *Store) Pending(shard int) bool {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for t := range sh.stalled {
		if t.why == errPending {
			return true
		}
	}
	return false
}

// Names lists the tables that are known here, by name, also those without a transaction.
func (s *Store) Names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.tabs))
	for name := range s.tabs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Check reads a table's whole record file, as far as it goes now, and calls visit with the size in bytes and the
// record of each entry, until visit returns false. It returns *CorruptError for what a start would cut off: then the
// caller calls Repair. Appending goes on meanwhile, and visit may take its time.
func (s *Store) Check(table string, visit func(size int64, r *api.LogRecord) bool) (err error) {
	t := s.find(table)
	if t == nil {
		return nil
	}
	st, _ := t.snapshot()
	if st.size == 0 {
		return nil // it has no file yet
	}
	f, err := s.cfg.FS.Open(t.path())
	if errors.Is(err, fs.ErrNotExist) {
		return &CorruptError{Path: t.path(), Reason: "the file is gone"}
	}
	if err != nil {
		return fmt.Errorf("check table %s: %w", table, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	seen, err := s.checkHeader(t, f)
	if err != nil {
		return err
	}
	scan := newScanner(t.path(), f, seen.state.size, st.size)
	for {
		e, err := scan.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = seen.follow(&e)
		}
		if err != nil {
			return err
		}
		if !visit(e.size, &e.record) {
			return nil
		}
	}
}

// checkHeader returns a table that stands behind the header of the file.
func (s *Store) checkHeader(t *tab, f disk.File) (*tab, error) {
	header := make([]byte, headerMax)
	n, err := f.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &CorruptError{Path: t.path(), Reason: err.Error()}
	}
	name, size, err := parseFileHeader(t.path(), header[:n])
	if err == nil && name != t.name {
		err = &CorruptError{Path: t.path(), Reason: fmt.Sprintf("it is the file of table %s", name)}
	}
	return &tab{name: t.name, folder: t.folder, state: state{size: int64(size)}}, err
}

// CheckCheckpoint reads the checkpoint that this process wrote last. If the file is not that, it returns what is wrong,
// and the next Checkpoint writes it anew.
func (s *Store) CheckCheckpoint() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	if s.written == nil {
		return nil
	}
	b, err := disk.ReadFile(s.cfg.FS, checkpointPath(s.cfg.Dir))
	if err == nil && !bytes.Equal(b, s.written) {
		err = &CorruptError{Path: checkpointPath(s.cfg.Dir), Reason: "it is not what was written"}
	}
	if err != nil {
		s.written = nil
	}
	return err
}
