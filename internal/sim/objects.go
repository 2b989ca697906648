package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Objects is an object store that fails as real ones do.
type Objects struct {
	e     *Engine
	chaos *Chaos
	inner objstore.Store
	disk  *disk.Memory // of a directory store; nil: the store is in memory, and remembers everything
	wrap  func(disk.FS) disk.FS
	away  time.Duration // until then nothing is answered
	lost  map[string]bool
}

var errObject = errors.New("injected: object store")

// NewObjects returns an empty store: the one in memory, or a directory on a disk that loses what is not synced when
// the power is cut. wrap is put around that disk.
func NewObjects(e *Engine, chaos *Chaos, wrap func(disk.FS) disk.FS) *Objects {
	o := &Objects{e: e, chaos: chaos, wrap: wrap, inner: objstore.NewMemory(), lost: make(map[string]bool)}
	if chaos.Exists(ObjectPower) {
		o.disk = disk.NewMemory()
		o.disk.Clock(e.Clock)
		o.open()
	}
	return o
}

func (o *Objects) open() {
	d, err := objstore.OpenDir(context.Background(), o.wrap(o.disk), "/objects")
	if err != nil {
		panic(fmt.Sprintf("sim: open the object store: %v", err)) // its disk has no faults but the power
	}
	o.inner = d
}

// PowerCut takes the power from a directory store, and puts it back.
func (o *Objects) PowerCut() bool {
	if o.disk == nil {
		return false
	}
	o.e.Trace("objects", "power cut")
	o.disk.Crash(disk.Torn(o.e.Rand.Uint64()))
	o.open()
	return true
}

// Lose takes an object away, as no store does by itself.
func (o *Objects) Lose(key string) { o.lost[key] = true }

// Read returns an object's bytes, at once and without faults.
func (o *Objects) Read(key string) ([]byte, error) {
	if o.lost[key] {
		return nil, fmt.Errorf("get %s: %w", key, objstore.ErrNotFound)
	}
	r, _, err := o.inner.Get(context.Background(), key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// Away makes the store fail for d.
func (o *Objects) Away(d time.Duration) { o.away = o.e.now + d }

// For is the store as one process sees it.
func (o *Objects) For(p *Process) objstore.Store { return client{o, p} }

type client struct {
	o *Objects
	p *Process
}

// begin takes the time of a request, and says whether it fails before it has an effect.
func (c client) begin(op, key string) error {
	took := c.o.e.Between(200*time.Microsecond, 5*time.Millisecond)
	stalled := c.o.chaos.Fire(ObjectStall, 0.05)
	if stalled {
		took = c.o.e.Between(time.Second, 10*time.Second)
	}
	c.p.Sleep(took)
	if c.o.e.now < c.o.away || stalled || c.o.chaos.Fire(ObjectBefore, 0.1) {
		c.o.e.Trace(c.p.Name, "%s %s fails", op, key)
		return fmt.Errorf("%s %s: %w", op, key, errObject)
	}
	return nil
}

// end takes the time of the answer, and says whether it is lost.
func (c client) end(op, key string) error {
	c.p.Sleep(c.o.e.Between(100*time.Microsecond, time.Millisecond))
	if c.o.chaos.Fire(ObjectAfter, 0.1) {
		c.o.e.Trace(c.p.Name, "%s %s: the answer is lost", op, key)
		return fmt.Errorf("%s %s: answer lost: %w", op, key, errObject)
	}
	return nil
}

func (c client) Put(_ context.Context, key string, body objstore.Body) error {
	if err := c.begin("put", key); err != nil {
		return err
	}
	r, err := body.Open()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if c.o.chaos.Fire(ObjectLate, 0.1) {
		c.o.e.After(c.o.e.Between(time.Second, 20*time.Second), func() {
			err := c.o.inner.Put(context.Background(), key, objstore.Bytes(data))
			c.o.e.Trace("objects", "late put of %s: %v", key, err)
		})
		return fmt.Errorf("put %s: given up: %w", key, errObject)
	}
	body.Path, body.FS, body.Reader = "", nil, bytes.NewReader(data)
	err = c.o.inner.Put(context.Background(), key, body)
	c.o.e.Trace(c.p.Name, "put %s: %v", key, err)
	if err != nil {
		return err
	}
	return c.end("put", key)
}

func (c client) Get(_ context.Context, key string) (io.ReadCloser, int64, error) {
	if err := c.begin("get", key); err != nil {
		return nil, 0, err
	}
	if c.o.lost[key] {
		return nil, 0, fmt.Errorf("get %s: %w", key, objstore.ErrNotFound)
	}
	r, size, err := c.o.inner.Get(context.Background(), key)
	if err == nil && size > 0 && c.o.chaos.Fire(ObjectShort, 0.1) {
		half := io.LimitReader(r, c.o.e.Rand.Int64N(size))
		return objstore.Sized(io.NopCloser(half), size), size, nil
	}
	return r, size, err
}

func (c client) Stat(_ context.Context, key string) (objstore.Info, error) {
	if err := c.begin("stat", key); err != nil {
		return objstore.Info{}, err
	}
	info, err := c.o.inner.Stat(context.Background(), key)
	if err != nil {
		return info, err
	}
	return info, c.end("stat", key)
}

func (c client) List(_ context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return c.o.inner.List(context.Background(), prefix)
}
