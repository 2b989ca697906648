package outbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// ErrInUse says that another process has the folder. Nothing was changed.
var ErrInUse = errors.New("the folder is in use by another process")

// take takes the folder for this process and reads it. producer is the id that a new folder gets, and that an older
// one must have, unless given is false.
func take(fsys disk.FS, dir, producer string, given bool) (*journal, *core, error) {
	if err := api.CheckProducer(producer); err != nil {
		return nil, nil, fmt.Errorf("outbox %s: %w", dir, err)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, fmt.Errorf("outbox %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockName))
	if err != nil {
		if errors.Is(err, disk.ErrLocked) {
			err = fmt.Errorf("%w: stop it, or give each process a folder of its own", ErrInUse)
		}
		return nil, nil, fmt.Errorf("outbox %s: %w", dir, err)
	}
	j := &journal{fs: fsys, dir: dir, lock: lock}
	c, err := j.load(producer, given)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("outbox %s: %w", dir, err), j.close())
	}
	return j, c, nil
}

func (j *journal) load(producer string, given bool) (*core, error) {
	numbers, err := j.list()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		c := newCore(producer)
		h := c.header()
		if err := j.rotate(h); err != nil {
			return nil, err
		}
		c.begin(h, j.size)
		return c, nil
	}
	var c *core
	for i, n := range numbers {
		if n != numbers[0]+uint64(i) {
			return nil, &CorruptError{Path: j.path(numbers[0] + uint64(i)), Reason: "the file is gone"}
		}
		if c, err = j.replay(c, n, i == len(numbers)-1); err != nil {
			return nil, err
		}
	}
	if given && c.producer != producer {
		return nil, fmt.Errorf("the folder is of producer %s, not of %s: what it holds may only be sent as that one",
			c.producer, producer)
	}
	return c, j.resume(numbers[len(numbers)-1], c)
}

// list returns the numbers of the files, ascending, and takes away what a crash has left of writing one.
func (j *journal) list() (numbers []uint64, err error) {
	names, err := j.fs.ReadDir(j.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range names {
		n, ok := fileNumber(e.Name())
		switch {
		case ok:
			numbers = append(numbers, n)
		case e.Name() == reserveName:
			j.spare = true
		case strings.HasSuffix(e.Name(), disk.TempSuffix):
			if err := j.fs.Remove(filepath.Join(j.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// replay reads a file. What a crash has left of the last chunk of the last file does not count.
func (j *journal) replay(c *core, number uint64, last bool) (*core, error) {
	path := j.path(number)
	data, err := disk.ReadFile(j.fs, path)
	if err != nil {
		return nil, err
	}
	h, size, err := parseHeader(path, data)
	if err != nil {
		return nil, err
	}
	if c == nil {
		c = newCore(h.Producer)
	}
	if h.Number != number || h.Producer != c.producer {
		return nil, &CorruptError{Path: path, Reason: fmt.Sprintf("the header is of file %d of producer %s, this is "+
			"file %d of %s", h.Number, h.Producer, number, c.producer)}
	}
	c.begin(h, int64(size))
	s := scanner{path: path, number: number, data: data, offset: int64(size)}
	for {
		r, at, err := s.next()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			if !last {
				return nil, err
			}
			if behind := torn(data, s.offset); behind != nil {
				return nil, fmt.Errorf("%w (%w)", err, behind)
			}
			return c, nil
		}
		if err := c.apply(r, at); err != nil {
			return nil, &CorruptError{Path: path, Offset: at.offset, Reason: err.Error()}
		}
	}
}

// resume opens the last file for more, cut where the records end. It syncs what was read, whole: the process before may
// have died between a write and its sync, and nobody may act on a record that a power cut could take away.
func (j *journal) resume(number uint64, c *core) error {
	f, err := j.fs.OpenAppend(j.path(number))
	if err != nil {
		return err
	}
	j.active, j.number, j.size = f, number, c.file(number).size
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > j.size {
		return j.cut()
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	return nil
}
