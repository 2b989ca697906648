package hold

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/segment"
)

// receive enters one piece. Its answer says `whole` only of a segment that is checked, and synced with its name.
func (k *Keeper) receive(r *api.HoldRequest) (api.HoldAnswer, *api.Error) {
	k.mu.Lock()
	what, h, refusal := k.core.piece(k.now(), r)
	k.mu.Unlock()
	switch what {
	case refuse:
		return api.HoldAnswer{}, refusal
	case finished:
		return api.HoldAnswer{Have: r.Total, Whole: true}, nil
	case nothing:
		return api.HoldAnswer{Have: uint64(h.have)}, nil
	}
	whole, err := k.enter(h, r, what)
	if err != nil {
		k.abandon(h)
		k.metrics.failed.WithLabelValues("receive").Inc()
		k.log.Warn("segment not held", "segment", h.id.String(), "error", err)
		if errors.As(err, new(*segment.CorruptError)) {
			return api.HoldAnswer{}, api.Errorf(api.Invalid, "%v", err)
		}
		return api.HoldAnswer{}, api.Errorf(api.Unavailable, "node %s cannot hold segment %s: %v", k.cfg.ID, h.id, err)
	}
	return api.HoldAnswer{Have: r.Offset + uint64(len(r.Data)), Whole: whole}, nil
}

// enter writes a piece, and completes the file with the last one.
func (k *Keeper) enter(h *held, r *api.HoldRequest, what step) (whole bool, err error) {
	f, err := k.file(h, what)
	if err != nil {
		return false, err
	}
	if _, err := f.Write(r.Data); err != nil {
		return false, err
	}
	k.mu.Lock()
	last := k.core.written(h, len(r.Data))
	k.mu.Unlock()
	if !last {
		return false, nil
	}
	began := k.now()
	if err := k.complete(h, f); err != nil {
		return false, err
	}
	k.mu.Lock()
	k.core.synced(k.now(), h)
	k.mu.Unlock()
	k.metrics.syncSeconds.Observe((k.now() - began).Seconds())
	return true, nil
}

// file is what a segment is written into.
func (k *Keeper) file(h *held, what step) (disk.File, error) {
	k.mu.Lock()
	f := k.files[h.id]
	k.mu.Unlock()
	if what == extend {
		return f, nil
	}
	if f != nil { // it begins anew
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	path := k.path(h.id)
	if err := k.deps.FS.MkdirAll(filepath.Dir(path)); err != nil {
		return nil, err
	}
	f, err := k.deps.FS.Create(path + partSuffix)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		delete(k.files, h.id)
		return nil, err
	}
	k.files[h.id] = f
	return f, nil
}

// complete checks a segment, and makes its bytes and then its name durable. A file whose sync has failed is given up.
func (k *Keeper) complete(h *held, f disk.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if _, _, err := segment.Check(f, h.total, h.id); err != nil {
		return err
	}
	k.mu.Lock()
	delete(k.files, h.id)
	k.mu.Unlock()
	if err := f.Close(); err != nil {
		return err
	}
	path := k.path(h.id)
	if err := k.deps.FS.Rename(path+partSuffix, path); err != nil {
		return err
	}
	return k.deps.FS.SyncDir(filepath.Dir(path))
}

// abandon forgets a segment that could not be written.
func (k *Keeper) abandon(h *held) {
	k.mu.Lock()
	f := k.files[h.id]
	delete(k.files, h.id)
	k.core.gone(h)
	k.mu.Unlock()
	var err error
	if f != nil {
		err = f.Close()
	}
	// Under its last name, too: it may have been renamed before the folder's sync failed.
	for _, path := range []string{k.path(h.id) + partSuffix, k.path(h.id)} {
		if e := k.deps.FS.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		k.log.Warn("rest of a segment is left behind", "error", fmt.Errorf("segment %s: %w", h.id, err))
	}
}
