package table

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// Config says where a node's tables are.
type Config struct {
	Dir    string  // holds the checkpoint and the folder `tables`
	FS     disk.FS // disk.OS, or a crashable one in tests
	Shards int     // of the cluster; a folder of a cluster with another number is refused
	// FilesMax is how many record files stay open for appending; 0: 128. Fewer costs an open per append, more costs
	// descriptors.
	FilesMax int
	// SyncsParallel is how many files Checkpoint syncs at once; 0: 4, since a file system gathers syncs that come
	// together. With 1 the caller's goroutine syncs.
	SyncsParallel int
	Logger        *slog.Logger // nil: none
}

// Store is a node's tables. It is safe for concurrent use: shards are applied independently of each other, and
// readers are never held up by Apply. It must be closed, after everything that applies has ended.
type Store struct {
	cfg   Config
	files *files

	shards []*shardState

	mu   sync.RWMutex
	tabs map[string]*tab

	checkpointing sync.Mutex // one at a time; guards written
	written       []byte     // the checkpoint as it is on disk
}

// shardState is a commit log as far as it was applied.
type shardState struct {
	mu       sync.Mutex
	position uint64 // every record up to it was applied, or is behind a stalled table
	tabs     []*tab
	stalled  map[*tab]struct{}
}

// Open reads the tables of a node, and makes the folder if there is none. A torn or damaged end of a table is cut
// off, and its shard's position goes back to before it. Errors are those of the files, and *NewerFormatError.
func Open(cfg Config) (*Store, error) {
	if cfg.Shards < 1 || cfg.Dir == "" || cfg.FS == nil {
		return nil, errors.New("table.Open: Dir, FS and Shards must be set")
	}
	if cfg.FilesMax == 0 {
		cfg.FilesMax = 128
	}
	if cfg.SyncsParallel == 0 {
		cfg.SyncsParallel = 4
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, files: newFiles(cfg.FS, cfg.FilesMax), tabs: make(map[string]*tab)}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("open tables in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Store) prepare() error {
	if err := s.cfg.FS.MkdirAll(tablesDir(s.cfg.Dir)); err != nil {
		return err
	}
	// MkdirAll makes the names of new folders durable. Those that a crash left halfway are made so here, once.
	for _, dir := range []string{s.cfg.Dir, tablesDir(s.cfg.Dir)} {
		if err := s.cfg.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	c, err := readCheckpoint(s.cfg.FS, s.cfg.Dir, s.cfg.Shards, s.cfg.Logger.Warn)
	if err != nil {
		return err
	}
	tabs, err := loadAll(s.cfg.FS, s.cfg.Dir, s.cfg.Logger.Warn)
	if err != nil {
		return err
	}
	for range s.cfg.Shards {
		s.shards = append(s.shards, &shardState{stalled: make(map[*tab]struct{})})
	}
	for _, t := range tabs {
		// What a crash left unsynced may be all of the table but its bytes in the page cache.
		t.dirty, t.fresh = true, true
		s.adopt(t)
	}
	c.goBack(s.tabs, s.cfg.Logger.Warn)
	for i, p := range c.positions {
		s.shards[i].position = p
	}
	return nil
}

// adopt makes a table known, if it is not yet. The shard's lock is held, or nothing runs yet.
func (s *Store) adopt(t *tab) {
	if s.find(t.name) != nil {
		return
	}
	t.shard = api.Shard(t.name, s.cfg.Shards)
	s.shards[t.shard].tabs = append(s.shards[t.shard].tabs, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tabs[t.name] = t
}

func (s *Store) find(table string) *tab {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tabs[table]
}

func (s *Store) newTab(table string) *tab {
	return &tab{name: table, folder: filepath.Join(tablesDir(s.cfg.Dir), folderName(table))}
}

// Position is the index up to which a shard's log was applied: reading goes on behind it. Tables that are stalled
// may be further back; Stalled finds them.
func (s *Store) Position(shard int) uint64 {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.position
}

// Stalled returns the lowest log index at or above from at which a table of the shard waits, and whether there is
// one. Such a table catches up when Apply gets the log from that index on.
func (s *Store) Stalled(shard int, from uint64) (index uint64, ok bool) {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for t := range sh.stalled {
		if t.stalledAt >= from && (!ok || t.stalledAt < index) {
			index, ok = t.stalledAt, true
		}
	}
	return index, ok
}

// Behind is the number of confirmed records below the shard's position that stalled tables have not applied.
func (s *Store) Behind(shard int) (records uint64) {
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for t := range sh.stalled {
		records += t.behind
	}
	return records
}

// Tables lists the tables that have a transaction here, by name.
func (s *Store) Tables() []api.NodeTable {
	s.mu.RLock()
	tabs := make([]*tab, 0, len(s.tabs))
	for _, t := range s.tabs {
		tabs = append(tabs, t)
	}
	s.mu.RUnlock()
	tables := make([]api.NodeTable, 0, len(tabs))
	for _, t := range tabs {
		if n := t.describe(); n.Applied > 0 {
			tables = append(tables, n)
		}
	}
	slices.SortFunc(tables, func(a, b api.NodeTable) int { return cmp.Compare(a.Name, b.Name) })
	return tables
}

// Table describes one table; false if it has no transaction here.
func (s *Store) Table(name string) (api.NodeTable, bool) {
	t := s.find(name)
	if t == nil {
		return api.NodeTable{}, false
	}
	n := t.describe()
	return n, n.Applied > 0
}

func (t *tab) describe() api.NodeTable {
	st, _ := t.snapshot()
	return api.NodeTable{Name: t.name, Applied: st.applied, Rows: st.rows, Digest: hexDigest(st.digest)}
}

// Close writes a last checkpoint and closes the files. Reading goes on working.
func (s *Store) Close() error {
	return errors.Join(s.Checkpoint(), s.files.close())
}

// AppliedTxID is a table's applied TxID, 0 if it has no transaction here.
func (s *Store) AppliedTxID(table string) uint64 {
	t := s.find(table)
	if t == nil {
		return 0
	}
	st, _ := t.snapshot()
	return st.applied
}
