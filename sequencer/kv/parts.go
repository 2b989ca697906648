package kv

import (
	"context"
	"fmt"
	"sync"
)

// Meter counts what a transaction writes against the limits. The zero Meter is ready.
type Meter struct {
	bytes int
	err   error
}

// Write counts one key with its value (nil for a clear), or the two bounds of a range, and says whether the write
// may be done. Once it may not, the transaction has failed.
func (m *Meter) Write(key, value []byte) bool {
	m.bytes += len(key) + len(value)
	switch {
	case m.err != nil:
	case len(key) > KeyBytesMax:
		m.err = fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooLarge, len(key), KeyBytesMax)
	case len(value) > ValueBytesMax:
		m.err = fmt.Errorf("%w: value of %d bytes at key %x, at most %d", ErrTooLarge, len(value), key, ValueBytesMax)
	case m.bytes > TransactionBytesMax:
		m.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, TransactionBytesMax)
	}
	return m.err == nil
}

// Err is the first limit that was passed.
func (m *Meter) Err() error { return m.err }

// Watches keeps the watches of a store that lives in one process. The zero value is ready.
type Watches struct {
	mu   sync.Mutex
	keys map[string]map[chan struct{}]func() bool // and what takes back the wait for the context
}

// Add registers a watch that ends with ctx.
func (w *Watches) Add(ctx context.Context, key []byte) <-chan struct{} {
	ch, name := make(chan struct{}), string(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys == nil {
		w.keys = make(map[string]map[chan struct{}]func() bool)
	}
	if w.keys[name] == nil {
		w.keys[name] = make(map[chan struct{}]func() bool)
	}
	w.keys[name][ch] = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, waiting := w.keys[name][ch]; waiting {
			w.remove(name, ch)
		}
	})
	return ch
}

// remove closes a channel; w.mu is held.
func (w *Watches) remove(name string, ch chan struct{}) {
	delete(w.keys[name], ch)
	if len(w.keys[name]) == 0 {
		delete(w.keys, name)
	}
	close(ch)
}

// Watched says whether anyone watches anything, so that a store need not remember what a transaction writes.
func (w *Watches) Watched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.keys) > 0
}

// Written ends the watches of the keys for which written is true.
func (w *Watches) Written(written func(key string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, channels := range w.keys {
		if written(name) {
			for ch, stop := range channels {
				stop()
				w.remove(name, ch)
			}
		}
	}
}
