package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// chunkBytesMax bounds what is written and synced at once; one record alone may be larger.
const chunkBytesMax = 4 << 20

// reserveBytes is the room that is set aside for what must be written down when the disk is full.
func (c *Config) reserveBytes() int { return int(min(1<<20, c.BytesMax/16)) }

// flush writes what waits for the disk until the Box ends: everything that waits shares one sync.
func (b *Box) flush(ctx context.Context) {
	b.setAside()
	for {
		chunk := b.take(ctx)
		if len(chunk) == 0 {
			return
		}
		switch err := b.write(chunk); {
		case errors.Is(err, errFull):
			b.full(ctx, chunk)
		case err != nil:
			b.lost(chunk, err)
		default:
			if err := b.tidy(); err != nil {
				b.broken(err)
			}
		}
	}
}

func (b *Box) setAside() {
	if err := b.j.setAside(b.cfg.reserveBytes()); err != nil {
		b.broken(err)
	}
}

// take waits for something to write; there is nothing once the Box has ended. As long as there is no reserve, writes
// wait: they must not take the room that answers need.
func (b *Box) take(ctx context.Context) []*item {
	var again time.Time // when the reserve is tried for
	b.mu.Lock()
	for b.err == nil && len(b.control) == 0 && (len(b.pending) == 0 || !b.j.spare) {
		now := b.deps.Now()
		switch {
		case len(b.pending) == 0:
			b.waitLocked(ctx, forever)
		case now.Before(again):
			b.waitLocked(ctx, again.Sub(now))
		default:
			again = now.Add(b.cfg.Pause)
			b.mu.Unlock()
			if b.setAside(); !b.j.spare {
				b.deps.Logger.Warn("the outbox's disk is full: writes wait", "folder", b.cfg.Dir)
			}
			b.mu.Lock()
		}
	}
	if b.err != nil {
		b.mu.Unlock()
		return nil
	}
	chunk, bytes, n := b.control, int64(0), 0
	for ; n < len(b.pending) && b.j.spare; n++ {
		if bytes += b.pending[n].size; bytes > chunkBytesMax && len(chunk)+n > 0 {
			break
		}
		b.bytes -= b.pending[n].size
	}
	b.writing = append(chunk, b.pending[:n]...)
	b.control, b.pending = nil, b.pending[n:]
	chunk = b.writing
	b.mu.Unlock()
	return chunk
}

// write puts a chunk on the disk, and then into the core.
func (b *Box) write(chunk []*item) error {
	at, encoded := make([]place, len(chunk)), []byte(nil)
	for n, i := range chunk {
		start := len(encoded)
		encoded = appendRecord(encoded, i.r, b.j.size+int64(start), uint32(start))
		at[n] = place{b.j.number, b.j.size + int64(start), uint32(len(encoded) - start)}
	}
	if err := b.j.append(encoded); err != nil {
		return err
	}
	b.mu.Lock()
	b.writing = nil
	for n, i := range chunk {
		if err := b.c.apply(i.r, at[n]); err != nil {
			panic(fmt.Sprintf("outbox: a record of our own is impossible: %v", err))
		}
		w, ok := i.r.(*Write)
		if ok {
			b.readyLocked(w.Table)
		}
		if ok && i.watcher != nil && b.err == nil {
			b.watched[w.Ordinal], i.watcher = i.watcher, nil
		}
	}
	ended := b.err
	b.changedLocked()
	b.mu.Unlock()
	for _, i := range chunk {
		if i.watcher != nil { // the Box has ended meanwhile, and the write is on the disk
			i.watcher(Outcome{}, ended)
		}
		close(i.done)
	}
	return nil
}

// readyLocked has a table delivered, if it has something and nobody does.
func (b *Box) readyLocked(table string) {
	q := b.c.tables[table]
	if q == nil || q.busy || q.ready {
		return
	}
	q.ready = true
	b.ready = append(b.ready, table)
}

// full is after a chunk found no room: nothing of it is there. What must be written down gets the reserve; writes wait.
func (b *Box) full(ctx context.Context, chunk []*item) {
	n := 0
	for n < len(chunk) && chunk[n].size == 0 {
		n++
	}
	control, writes := chunk[:n:n], chunk[n:]
	b.mu.Lock()
	b.writing = control
	b.againLocked(nil, writes)
	b.mu.Unlock()
	err := errFull
	if n > 0 {
		err = b.withReserve(func() error { return b.write(control) })
	}
	switch {
	case errors.Is(err, errFull):
		b.mu.Lock()
		b.writing = nil
		b.againLocked(control, nil)
		b.mu.Unlock()
		b.deps.Logger.Warn("the outbox's disk is full: writes wait", "folder", b.cfg.Dir)
		b.rest(ctx)
	case err != nil:
		b.lost(control, err)
	default: // there may be room now
		if err := b.tidy(); err != nil {
			b.broken(err)
		}
	}
}

// againLocked puts what found no room back in front of what waits.
func (b *Box) againLocked(control, writes []*item) {
	if b.err != nil {
		failItems(slices.Concat(control, writes), b.err)
		return
	}
	b.control, b.pending = slices.Concat(control, b.control), slices.Concat(writes, b.pending)
	for _, i := range writes {
		b.bytes += i.size
	}
}

// withReserve does something that needs room, and gives the reserve for it if it must.
func (b *Box) withReserve(do func() error) error {
	err := do()
	if !errors.Is(err, errFull) {
		return err
	}
	if given, err := b.j.giveUp(); err != nil || !given {
		return cmp.Or(err, errFull)
	}
	return do()
}

// rest waits until something may have made room, or for a pause: others fill and empty the disk, too. What must be
// written down does not wait for the pause.
func (b *Box) rest(ctx context.Context) {
	until := b.deps.Now().Add(b.cfg.Pause)
	b.mu.Lock()
	for before := len(b.control); b.err == nil && len(b.control) == before && b.deps.Now().Before(until); {
		b.waitLocked(ctx, until.Sub(b.deps.Now()))
	}
	b.mu.Unlock()
}

// lost is after the disk has failed in the midst of a chunk.
func (b *Box) lost(chunk []*item, why error) {
	b.mu.Lock()
	b.writing = nil
	failItems(chunk, fmt.Errorf("%w: %w", ErrBroken, why))
	b.mu.Unlock()
	b.broken(why)
}

func (b *Box) broken(why error) {
	b.deps.Logger.Error("the outbox has ended", "folder", b.cfg.Dir, "error", why)
	b.end(fmt.Errorf("%w: %w", ErrBroken, why))
}

// tidy begins a new file when the last one is full, or when nothing in it is needed and it is not small, and removes
// the oldest ones as long as nothing in them is.
func (b *Box) tidy() error {
	b.mu.Lock()
	h, idle := b.c.header(), b.c.open+len(b.c.refused) == 0
	b.mu.Unlock()
	if b.j.size >= b.cfg.FileBytesMax || idle && (b.j.size >= b.cfg.FileBytesMax/4 || !b.j.spare) {
		err := b.withReserve(func() error { return b.j.rotate(h) })
		if err != nil && !errors.Is(err, errFull) { // without room for another file, the last one grows on
			return err
		}
		if err == nil {
			b.mu.Lock()
			b.c.begin(h, b.j.size)
			b.mu.Unlock()
		}
	}
	if err := b.clear(); err != nil {
		return err
	}
	return b.move()
}

// clear removes files that hold nothing that is needed, the oldest first.
func (b *Box) clear() error {
	for removed := false; ; removed = true {
		b.mu.Lock()
		number, ok := b.c.done()
		b.mu.Unlock()
		switch {
		case ok:
		case removed:
			return b.j.setAside(b.cfg.reserveBytes())
		default:
			return nil
		}
		if err := b.j.remove(number); err != nil {
			return err
		}
		b.mu.Lock()
		b.c.forget()
		b.changedLocked()
		b.mu.Unlock()
	}
}
