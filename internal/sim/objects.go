package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/seed-551dd829/braid/internal/objstore"
)

// Objects is an object store that fails as real ones do.
type Objects struct {
	Inner *objstore.Memory
	e     *Engine
	chaos *Chaos
	away  time.Duration // until then nothing is answered
}

var errObject = errors.New("injected: object store")

// NewObjects returns an empty store.
func NewObjects(e *Engine, chaos *Chaos) *Objects {
	return &Objects{Inner: objstore.NewMemory(), e: e, chaos: chaos}
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
			err := c.o.Inner.Put(context.Background(), key, objstore.Bytes(data))
			c.o.e.Trace("objects", "late put of %s: %v", key, err)
		})
		return fmt.Errorf("put %s: given up: %w", key, errObject)
	}
	body.Path, body.FS, body.Reader = "", nil, bytes.NewReader(data)
	err = c.o.Inner.Put(context.Background(), key, body)
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
	r, size, err := c.o.Inner.Get(context.Background(), key)
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
	info, err := c.o.Inner.Stat(context.Background(), key)
	if err != nil {
		return info, err
	}
	return info, c.end("stat", key)
}

func (c client) List(_ context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return c.o.Inner.List(context.Background(), prefix)
}
