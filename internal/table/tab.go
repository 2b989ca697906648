package table

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// A sparse index entry is made at every markRecords-th record, or after markBytes if that is sooner.
const (
	markRecords = 256
	markBytes   = 64 << 10
)

// mark is one entry of the sparse index: what is known in front of the record at offset.
type mark struct {
	first  uint64 // TxID of the record at offset
	offset int64
	digest [32]byte // after TxID first-1
}

// state is where a table stands after one of its records.
type state struct {
	applied uint64 // TxID
	rows    uint64
	index   uint64 // of the last record in its shard's log
	digest  [32]byte
	size    int64 // of the record file
	records uint64
}

// add is the state after r, whose entry takes size bytes.
func (st *state) add(r *api.LogRecord, digest [32]byte, size int64) {
	st.applied, st.index, st.digest = r.Last(), r.Index, digest
	st.rows += accepted(r)
	st.size += size
	st.records++
}

// tab is one table. Whoever changes it holds its shard's lock; mu lets readers look meanwhile.
type tab struct {
	name   string
	folder string
	shard  int

	// Guarded by the shard's lock.
	stalledAt uint64 // log index from which the table has to be read again; 0: it follows the log
	why       error  // it is stalled
	behind    uint64 // confirmed records that were passed over since then
	dirty     bool   // has bytes that are not synced
	fresh     bool   // its folder is not synced
	torn      bool   // an append failed: what stands behind size has to be cut off first

	mu    sync.RWMutex
	state state
	marks []mark // append-only: a copy of the slice stays valid
	every markRule
}

// markRule says when the next sparse index entry is due.
type markRule struct {
	records int
	bytes   int64
}

// note makes a sparse index entry if one is due in front of a record.
func (t *tab) note(before *state, first uint64, size int64) {
	if len(t.marks) == 0 || t.every.records >= markRecords || t.every.bytes >= markBytes {
		t.marks = append(t.marks, mark{first: first, offset: before.size, digest: before.digest})
		t.every = markRule{}
	}
	t.every.records++
	t.every.bytes += size
}

// snapshot is the table's state, and its index up to there.
func (t *tab) snapshot() (state, []mark) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.state, t.marks
}

// seek returns the last mark at or before txid, the first one if there is none.
func seek(marks []mark, txid uint64) mark {
	i := sort.Search(len(marks), func(i int) bool { return marks[i].first > txid })
	return marks[max(i-1, 0)]
}

func (t *tab) path() string { return recordsPath(t.folder) }

// load reads the whole record file: it fills the index and cuts a torn or damaged tail off, so that the table ends
// at its last whole entry that follows from the one before. It returns why something was cut, nil if nothing was.
func (t *tab) load(fsys disk.FS) (cut, err error) {
	f, err := fsys.Open(t.path())
	if err != nil {
		return nil, err
	}
	size, cut, err := t.scan(f)
	if err = errors.Join(err, f.Close()); err != nil || cut == nil {
		return cut, err
	}
	return cut, truncate(fsys, t.path(), size)
}

func (t *tab) scan(f disk.File) (good int64, cut, err error) {
	size, err := f.Size()
	if err != nil {
		return 0, nil, err
	}
	header := make([]byte, min(size, headerMax))
	if _, err := f.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	name, n, err := parseFileHeader(t.path(), header)
	if err != nil {
		return 0, nil, err
	}
	t.name, t.state, t.marks, t.every = name, state{size: int64(n)}, nil, markRule{}
	s := newScanner(t.path(), f, int64(n), size)
	for {
		e, err := s.next()
		if err == nil {
			err = t.follow(&e)
		}
		corrupt := new(CorruptError)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return t.state.size, nil, nil
		case errors.As(err, &corrupt):
			return t.state.size, corrupt, nil
		default:
			return 0, nil, err
		}
	}
}

// follow takes an entry into the index if it continues the table.
func (t *tab) follow(e *entry) error {
	before := t.state
	after := before
	digest := chain(before.digest, &e.record)
	after.add(&e.record, digest, e.size)
	if e.record.Table != t.name || e.record.First != before.applied+1 || e.record.Index <= before.index ||
		digest != e.digest || e.rows != after.rows {
		return &CorruptError{Path: t.path(), Offset: e.offset, Reason: "entry does not follow from the one before"}
	}
	t.note(&before, e.record.First, e.size)
	t.state = after
	return nil
}

func truncate(fsys disk.FS, path string, size int64) error {
	f, err := fsys.OpenAppend(path)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		if err = f.Sync(); err != nil {
			err = fmt.Errorf("%w: %w", errSync, err)
		}
	}
	return errors.Join(err, f.Close())
}

// errSync says that a file's sync failed: what is on the disk is not known any more, and the process must end.
var errSync = errors.New("sync failed")

// create makes the table's folder and file. It is durable only once both were synced.
func (t *tab) create(fsys disk.FS) error {
	if err := fsys.MkdirAll(t.folder); err != nil {
		return err
	}
	f, err := fsys.Create(t.path())
	if err != nil {
		return err
	}
	header := appendFileHeader(nil, t.name)
	_, err = f.Write(header)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	t.fresh, t.dirty = true, true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = state{size: int64(len(header))}
	return nil
}

// loadAll reads every table below root. A file whose header never reached the disk is removed: nothing in it was
// ever synced, or the checkpoint tells that something is missing. A table that cannot be read or repaired is left out,
// as if nothing of it were there: it stands as soon as a record of it comes, and no other table with it.
func loadAll(fsys disk.FS, root string, warn func(msg string, args ...any)) ([]*tab, error) {
	dir := tablesDir(root)
	folders, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list tables in %s: %w", dir, err)
	}
	var tabs []*tab
	for _, folder := range folders {
		t := &tab{folder: filepath.Join(dir, folder.Name())}
		cut, err := t.load(fsys)
		corrupt, newer := new(CorruptError), new(NewerFormatError)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the crash came between folder and file
		case errors.As(err, &corrupt):
			warn("table file without a header removed", "path", t.path(), "error", err)
			if err := fsys.Remove(t.path()); err != nil {
				warn("table file not removed", "path", t.path(), "error", err)
			}
			continue
		case errors.As(err, &newer), errors.Is(err, errSync):
			return nil, fmt.Errorf("open table in %s: %w", t.folder, err)
		case err != nil:
			warn("table cannot be read, its log is read again", "path", t.path(), "error", err)
			continue
		case folderName(t.name) != folder.Name():
			warn("table file in another table's folder left alone", "path", t.path(), "table", t.name)
			continue
		}
		if cut != nil {
			warn("end of a table file cut off", "table", t.name, "txid", t.state.applied, "error", cut)
		}
		tabs = append(tabs, t)
	}
	return tabs, nil
}
