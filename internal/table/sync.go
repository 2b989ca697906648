package table

import (
	"bytes"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/internal/disk"
)

// Checkpoint syncs what was appended since the last one, and then writes down how far each shard's log is durable
// here. Apply goes on meanwhile. After an error the process must end: what a failed sync has lost cannot be known.
func (s *Store) Checkpoint() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	c, dirty := s.capture()
	if err := s.syncTables(dirty); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	b := appendCheckpoint(nil, &c)
	if bytes.Equal(b, s.written) {
		return nil
	}
	if err := s.cfg.FS.WriteFileSync(checkpointPath(s.cfg.Dir), b); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.written = b
	return nil
}

// unsynced is a table file to sync.
type unsynced struct {
	t     *tab
	fresh bool
}

// capture takes down the shards' positions and the tables that have to be synced before these hold. A stalled table
// keeps its shard's position in front of what it waits for.
func (s *Store) capture() (c checkpoint, dirty []unsynced) {
	for _, sh := range s.shards {
		sh.mu.Lock()
		position := sh.position
		for t := range sh.stalled {
			position = min(position, t.stalledAt-1)
		}
		c.positions = append(c.positions, position)
		for _, t := range sh.tabs {
			if t.state.records > 0 {
				c.tables = append(c.tables, tableMark{name: t.name, index: t.state.index})
			}
			if t.dirty {
				dirty = append(dirty, unsynced{t: t, fresh: t.fresh})
				t.dirty, t.fresh = false, false
			}
		}
		sh.mu.Unlock()
	}
	return c, dirty
}

func (s *Store) syncTables(dirty []unsynced) error {
	var g errgroup.Group
	g.SetLimit(s.cfg.SyncsParallel)
	for _, d := range dirty {
		if len(dirty) == 1 || s.cfg.SyncsParallel == 1 {
			if err := s.syncTable(d); err != nil {
				return err
			}
			continue
		}
		g.Go(func() error { return s.syncTable(d) })
	}
	return g.Wait()
}

// syncTable syncs one table's file. One that cannot even be opened is no failed sync: the table is found damaged when
// it is next written, read or checked, and what it may lose in a crash is missed by the checkpoint's log index of it.
func (s *Store) syncTable(d unsynced) error {
	opened := false
	err := s.files.with(d.t.path(), func(f disk.File) error {
		opened = true
		return f.Sync()
	})
	switch {
	case err != nil && !opened:
		s.cfg.Logger.Warn("table file cannot be opened to sync it", "table", d.t.name, "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("sync table %s: %w", d.t.name, err)
	case !d.fresh:
		return nil
	}
	return s.cfg.FS.SyncDir(d.t.folder)
}
